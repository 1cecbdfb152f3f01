#include "cpu/decoder/rope.h"

#include <cmath>

namespace scenebus::cpu {

std::vector<double> ropeFrequencies(int headDim, double theta, const std::optional<RopeScaling>& scaling) {
  const double turn = 2 * std::acos(-1.0);
  std::vector<double> frequencies;
  for (int i = 0; i < headDim / 2; ++i) {
    double frequency = std::pow(theta, -2.0 * i / headDim);
    if (scaling) {
      const double wavelength = turn / frequency;
      const double original = scaling->originalMaxPositionEmbeddings;
      if (wavelength > original / scaling->lowFreqFactor) {
        frequency /= scaling->factor;
      } else if (wavelength >= original / scaling->highFreqFactor) {
        const double smooth =
            (original / wavelength - scaling->lowFreqFactor) / (scaling->highFreqFactor - scaling->lowFreqFactor);
        frequency = (1 - smooth) * frequency / scaling->factor + smooth * frequency;
      }
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

} // namespace scenebus::cpu
