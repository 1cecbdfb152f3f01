#pragma once
#include "gpu/kernels/int4MatMul/int4MatMul.h"
#include "gpu/kernels/reference/reference.h"
#include "tests/gpu/kernels/kernelTest.h"

/** Random int4 weights in the layout on disk, on host and device. */
namespace scenebus::test {

struct Int4Weights {
  Bytes packed;
  /** As the 16-bit scales hold them. */
  Floats scales;
  Halves scaleBits;
  int outputs, inputs, groupSize;
  kernels::ElementType scaleType;
  cuda::DeviceBuffer devicePacked, deviceScales;

  Int4Weights(int outputs, int inputs, int groupSize, kernels::ElementType scaleType = kernels::ElementType::kF16)
      : outputs(outputs), inputs(inputs), groupSize(groupSize), scaleType(scaleType) {
    const auto count = static_cast<std::size_t>(outputs) * static_cast<std::size_t>(inputs);
    std::uniform_int_distribution<int> byte(0, 255);
    std::uniform_real_distribution<float> scale(0.005f, 0.02f);
    for (std::size_t i = 0; i < count / 2; ++i)
      packed.push_back(static_cast<std::uint8_t>(byte(generator())));
    for (std::size_t i = 0; i < count / static_cast<std::size_t>(groupSize); ++i) {
      const float value = scale(generator());
      const bool isBf16 = scaleType == kernels::ElementType::kBf16;
      scaleBits.push_back(isBf16 ? static_cast<std::uint16_t>(cpu::bitsOfFloat(value) >> 16) : cpu::f16FromFloat(value));
      scales.push_back(isBf16 ? cpu::floatFromBf16(scaleBits.back()) : cpu::floatFromF16(scaleBits.back()));
    }
    devicePacked = upload(packed);
    deviceScales = upload(scaleBits);
  }

  kernels::Int4Weight onDevice() const {
    return {devicePacked.get(), deviceScales.get(), outputs, inputs, groupSize, scaleType};
  }

  Floats times(const Floats& x, int rows) const {
    return kernels::reference::int4MatMul(x, rows, packed, scales, outputs, inputs, groupSize);
  }
};

/** Sums of `inputs` products of such weights with x of deviation 1, in f32 in any order. */
inline double int4Tolerance(int inputs) { return 1e-6 * std::sqrt(static_cast<double>(inputs)); }

} // namespace scenebus::test
