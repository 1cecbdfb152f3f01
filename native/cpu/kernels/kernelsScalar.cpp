#include "cpu/kernels/floatKernels.h"
#include "cpu/kernels/half.h"

#include <cmath>

/** The reference: plain C++, in the order of operations that every other set follows. */
namespace scenebus::cpu {
namespace {

struct SimdScalar {
  using Vector = float;
  static constexpr int kWidth = 1;
  static constexpr int kAttendVectors = 1;
  static Vector zero() { return 0.0f; }
  static Vector set1(float v) { return v; }
  static Vector load(const float* p) {
    float v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static void store(float* p, Vector v) { *p = v; }
  static Vector loadF16(const std::uint16_t* p) { return scalarF16(p); }
  static Vector loadBf16(const std::uint16_t* p) { return scalarBf16(p); }
  static Vector loadI8(const std::int8_t* p) { return static_cast<float>(*p); }
  static float scalarF32(const float* p) { return load(p); }
  static float scalarF16(const std::uint16_t* p) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof(v));
    return floatFromF16(v);
  }
  static float scalarBf16(const std::uint16_t* p) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof(v));
    return floatFromBf16(v);
  }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector sub(Vector a, Vector b) { return a - b; }
  static Vector mul(Vector a, Vector b) { return a * b; }
  static Vector div(Vector a, Vector b) { return a / b; }
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  static Vector max(Vector a, Vector b) { return a > b ? a : b; }
  static Vector min(Vector a, Vector b) { return a < b ? a : b; }
  static float sum(Vector v) { return v; }
  static float maxOf(Vector v) { return v; }
  static Vector round(Vector v) { return std::nearbyintf(v); }
  static Vector scaleByPowerOfTwo(Vector v, Vector n) {
    if (n != n) // no integer
      return n;
    return v * floatFromBits(static_cast<std::uint32_t>(static_cast<int>(n) + 127) << 23);
  }
};

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
