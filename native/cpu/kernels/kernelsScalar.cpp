#include "cpu/kernels/floatKernels.h"
#include "cpu/kernels/half.h"
#include "cpu/kernels/simdScalar.h"

#include <cmath>

/** The reference: plain C++, in the order of operations that every other set follows. */
namespace scenebus::cpu {
namespace {

void quantizeToken(const float* x, int columns, int stride, std::int8_t* values, float* scales, std::int32_t* biases) {
  for (int block = 0; block < columns / kBlockColumns; ++block, x += kBlockColumns, values += stride * kBlockColumns) {
    // Among bits, where infinity and NaN are above all numbers: a comparison of floats would drop a NaN.
    std::uint32_t bits = 0;
    for (int i = 0; i < kBlockColumns; ++i) {
      const std::uint32_t magnitude = bitsOfFloat(x[i]) & 0x7fffffffu;
      bits = magnitude > bits ? magnitude : bits;
    }
    const float max = floatFromBits(bits);
    if (!std::isfinite(max)) {
      storeNotFinite(values, scales + block * stride, biases + block * stride);
      continue;
    }
    // Below the threshold 127 / max overflows; such a block is as good as zero.
    const float inverse = max > kSmallestBlockMax ? 127.0f / max : 0.0f;
    int sum = 0;
    for (int i = 0; i < kBlockColumns; ++i) {
      const int q = static_cast<int>(std::nearbyintf(x[i] * inverse));
      values[i] = static_cast<std::int8_t>(q);
      sum += q;
    }
    scales[block * stride] = inverse > 0.0f ? max / 127.0f : 0.0f;
    biases[block * stride] = -8 * sum;
  }
}

/** The weight of `lane` and input `k` of the block, 4 bits: value + 8. */
int weightOf(const std::uint8_t* block, int bits, int lane, int k) {
  if (bits == 8)
    return static_cast<std::int8_t>(block[k / 4 * 64 + lane * 4 + k % 4]);
  const int byte = block[k / 4 % 4 * 64 + lane * 4 + k % 4];
  return k < 16 ? byte & 15 : byte >> 4;
}

void packedMatmul(const PackedMatrix& weights, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                  std::ptrdiff_t stride) {
  const int blocksPerScale = weights.groupSize / kBlockColumns;
  for (int group = groupBegin; group < groupEnd; ++group) {
    const std::uint8_t* data = weights.data + group * weights.groupBytes();
    for (int token = 0; token < x.tokens; ++token) {
      const std::ptrdiff_t first = x.firstBlock(token), width = x.tileWidth(token);
      for (int lane = 0; lane < kGroupRows && group * kGroupRows + lane < weights.rows; ++lane) {
        float total = 0.0f;
        for (int i = 0; i < weights.scaleGroups(); ++i) {
          const std::uint8_t* values = data + weights.valuesOffset(i);
          float groupTotal = 0.0f;
          for (int b = 0; b < blocksPerScale; ++b) {
            const std::ptrdiff_t at = first + (i * blocksPerScale + b) * width;
            std::int32_t sum = weights.bits == 4 ? x.biases[at] : 0;
            for (int k = 0; k < kBlockColumns; ++k)
              sum += weightOf(values + b * weights.blockSizeBytes(), weights.bits, lane, k) *
                     x.values[at * kBlockColumns + k];
            groupTotal = std::fmaf(static_cast<float>(sum), x.scales[at], groupTotal);
          }
          std::uint16_t scale;
          std::memcpy(&scale, data + weights.scalesOffset(i) + lane * sizeof(scale), sizeof(scale));
          total = std::fmaf(groupTotal, floatFromF16(scale), total);
        }
        const int output = group * kGroupRows + lane;
        y[token * stride + output] = total * weights.rowFactors[output];
      }
    }
  }
}

} // namespace

const Kernels& scalarKernels() {
  using Float = FloatKernels<SimdScalar>;
  static const Kernels kernels{InstructionSet::kScalar, quantizeToken,       packedMatmul, Float::floatMatmul,
                               Float::rmsNorm,          Float::siluMultiply, Float::attend};
  return kernels;
}

} // namespace scenebus::cpu
