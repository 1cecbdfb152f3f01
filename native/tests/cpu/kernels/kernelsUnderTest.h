#pragma once
#include "cpu/kernels/half.h"
#include "cpu/kernels/kernels.h"

#include <limits>
#include <random>
#include <vector>

/** What the tests of the kernels share: numbers to feed them with, and the sets that this machine has. */
namespace scenebus::cpu {

inline std::mt19937& generator() {
  static std::mt19937 numbers(20261123);
  return numbers;
}

inline std::vector<float> normalValues(std::size_t count, float deviation = 1.0f) {
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<float> values(count);
  for (auto& value : values)
    value = distribution(generator());
  return values;
}

/** All sets of this machine but the reference. */
inline std::vector<const Kernels*> fastKernels() {
  std::vector<const Kernels*> list;
  for (const auto set : availableInstructionSets())
    if (set != InstructionSet::kScalar)
      list.push_back(&kernelsFor(set));
  return list;
}

inline std::vector<const Kernels*> allKernels() {
  auto list = fastKernels();
  list.push_back(&scalarKernels());
  return list;
}

inline const char* nameOf(const Kernels* kernels) {
  return instructionSetName(kernels->set).data();
}

inline const float kNotFinite[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                                   std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                   floatFromBits(0x7f800001)}; // a signalling NaN

} // namespace scenebus::cpu
