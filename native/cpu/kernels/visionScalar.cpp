#include "cpu/kernels/simdScalar.h"
#include "cpu/kernels/visionLoops.h"

/** The reference: products one by one. */
namespace scenebus::cpu {
namespace {

struct ProductsScalar {
  struct Sums {
    std::int32_t row[kGroupRows];
  };
  using Weights = const std::uint8_t*;
  using Input = const std::uint8_t*;
  static constexpr int kGroups = 1, kTokens = 1;
  static constexpr int kWeightLevels = 127, kInputOffset = 0;
  static Sums zero() { return {}; }
  static Weights load(const std::uint8_t* line) { return line; }
  static Input broadcast(const std::uint8_t* x) { return x; }
  static Sums addBytes(Sums sums, Weights w, Input x) {
    for (int lane = 0; lane < kGroupRows; ++lane)
      for (int i = 0; i < 4; ++i)
        sums.row[lane] += static_cast<std::int8_t>(w[lane * 4 + i]) * static_cast<std::int8_t>(x[i]);
    return sums;
  }
  static Sums addShorts(Sums sums, Weights w, Input x) {
    std::int16_t weights[2 * kGroupRows], inputs[2];
    std::memcpy(weights, w, sizeof(weights));
    std::memcpy(inputs, x, sizeof(inputs));
    for (int lane = 0; lane < kGroupRows; ++lane)
      for (int i = 0; i < 2; ++i)
        sums.row[lane] += weights[lane * 2 + i] * inputs[i];
    return sums;
  }
  static float floats(const Sums& sums, const Sums& base, int part) {
    return static_cast<float>(sums.row[part] - base.row[part]);
  }
  static void storeShorts(std::int16_t* to, float v) {
    *to = v == v ? static_cast<std::int16_t>(v) : static_cast<std::int16_t>(0);
  }
};

} // namespace

const VisionKernels& scalarVisionKernels() {
  using Loops = VisionLoops<SimdScalar, ProductsScalar>;
  static const VisionKernels kernels{InstructionSet::kScalar,
                                     ProductsScalar::kWeightLevels,
                                     ProductsScalar::kInputOffset,
                                     Loops::quantizeRow,
                                     Loops::matmul,
                                     Loops::layerNorm,
                                     Loops::gelu,
                                     Loops::attend};
  return kernels;
}

} // namespace scenebus::cpu
