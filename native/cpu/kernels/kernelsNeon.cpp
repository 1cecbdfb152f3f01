#include "cpu/kernels/floatKernels.h"
#include "cpu/kernels/simdNeon.h"

namespace scenebus::cpu {
namespace {

void quantizeToken(const float* x, int columns, int stride, std::int8_t* values, float* scales, std::int32_t* biases) {
  for (int block = 0; block < columns / kBlockColumns; ++block, x += kBlockColumns, values += stride * kBlockColumns) {
    float32x4_t v[8];
    float32x4_t wide = vdupq_n_f32(0.0f);
    for (int i = 0; i < 8; ++i) {
      v[i] = vld1q_f32(x + i * 4);
      wide = vmaxq_f32(wide, vabsq_f32(v[i]));
    }
    const float max = vmaxvq_f32(wide);
    if (!(max < __builtin_inff())) { // these maxima keep a NaN
      storeNotFinite(values, scales + block * stride, biases + block * stride);
      continue;
    }
    const float inverse = max > kSmallestBlockMax ? 127.0f / max : 0.0f;
    int32x4_t sums = vdupq_n_s32(0);
    for (int i = 0; i < 8; i += 2) {
      const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(v[i], inverse));
      const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(v[i + 1], inverse));
      sums = vaddq_s32(sums, vaddq_s32(low, high));
      vst1_s8(values + i * 4, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
    }
    scales[block * stride] = inverse > 0.0f ? max / 127.0f : 0.0f;
    biases[block * stride] = -8 * vaddvq_s32(sums);
  }
}

/** `sums[p]` (rows 4p … 4p+3) += the 4 inputs of `line` times their weights; nibbles are 0 … 15, so signed fits. */
template <int kLane> SCENEBUS_INLINE void addLine(int32x4_t* sums, const int8x16_t* weights, int8x16_t x) {
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p)
    sums[p] = vdotq_laneq_s32(sums[p], weights[p], x, kLane);
}

template <int kBits>
SCENEBUS_INLINE void blockSums(const std::uint8_t* w, const std::int8_t* x, std::int32_t bias, int32x4_t* sums) {
  const int8x16_t low = vld1q_s8(x), high = vld1q_s8(x + 16);
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p)
    sums[p] = vdupq_n_s32(kBits == 4 ? bias : 0);
  int8x16_t weights[4];
  // The lane number must be a constant, hence the four written-out steps.
  const auto lowWeights = [&](int line) __attribute__((always_inline)) {
    for (int p = 0; p < 4; ++p) {
      const uint8x16_t bytes = vld1q_u8(w + line * 64 + p * 16);
      weights[p] = vreinterpretq_s8_u8(kBits == 4 ? vandq_u8(bytes, vdupq_n_u8(15)) : bytes);
    }
  };
  const auto highWeights = [&](int line) __attribute__((always_inline)) {
    for (int p = 0; p < 4; ++p)
      weights[p] = vreinterpretq_s8_u8(kBits == 4 ? vshrq_n_u8(vld1q_u8(w + line * 64 + p * 16), 4)
                                                  : vld1q_u8(w + (line + 4) * 64 + p * 16));
  };
  lowWeights(0), addLine<0>(sums, weights, low);
  highWeights(0), addLine<0>(sums, weights, high);
  lowWeights(1), addLine<1>(sums, weights, low);
  highWeights(1), addLine<1>(sums, weights, high);
  lowWeights(2), addLine<2>(sums, weights, low);
  highWeights(2), addLine<2>(sums, weights, high);
  lowWeights(3), addLine<3>(sums, weights, low);
  highWeights(3), addLine<3>(sums, weights, high);
}

template <int kBits, int kTokens>
SCENEBUS_INLINE void matmulTile(const PackedMatrix& m, int group, const QuantizedTokens& x, int token, float* y,
                                std::ptrdiff_t stride) {
  const int blocksPerScale = m.groupSize / kBlockColumns;
  constexpr int kBlockBytes = kBits == 4 ? 256 : 512;
  const std::uint8_t* data = m.data + group * m.groupBytes();
  const std::ptrdiff_t first = x.firstBlock(token), width = x.tileWidth(token);
  const std::int8_t* xs = x.values + first * kBlockColumns;
  const float* xScales = x.scales + first;
  const std::int32_t* xBiases = x.biases + first;

  float32x4_t totals[kTokens][4];
  for (int t = 0; t < kTokens; ++t)
    for (int p = 0; p < 4; ++p)
      totals[t][p] = vdupq_n_f32(0.0f);
  for (int i = 0; i < m.scaleGroups(); ++i) {
    const std::uint8_t* w = data + m.valuesOffset(i);
    const auto* scale = reinterpret_cast<const std::uint16_t*>(data + m.scalesOffset(i));
    float32x4_t groupTotals[kTokens][4];
    for (int t = 0; t < kTokens; ++t)
      for (int p = 0; p < 4; ++p)
        groupTotals[t][p] = vdupq_n_f32(0.0f);
    for (int b = 0; b < blocksPerScale;
         ++b, w += kBlockBytes, xs += width * kBlockColumns, xScales += width, xBiases += width) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        int32x4_t sums[4];
        blockSums<kBits>(w, xs + t * kBlockColumns, xBiases[t], sums);
        for (int p = 0; p < 4; ++p)
          groupTotals[t][p] = vfmaq_f32(groupTotals[t][p], vcvtq_f32_s32(sums[p]), vdupq_n_f32(xScales[t]));
      }
    }
    for (int p = 0; p < 4; ++p) {
      const float32x4_t scales = SimdNeon::loadF16(scale + p * 4);
      for (int t = 0; t < kTokens; ++t)
        totals[t][p] = vfmaq_f32(totals[t][p], groupTotals[t][p], scales);
    }
  }
  const int rows = m.rows - group * kGroupRows < kGroupRows ? m.rows - group * kGroupRows : kGroupRows;
  for (int t = 0; t < kTokens; ++t) {
    float out[kGroupRows];
    for (int p = 0; p < 4; ++p)
      vst1q_f32(out + p * 4, vmulq_f32(totals[t][p], vld1q_f32(m.rowFactors + group * kGroupRows + p * 4)));
    float* to = y + (token + t) * stride + group * kGroupRows;
    for (int lane = 0; lane < rows; ++lane)
      to[lane] = out[lane];
  }
}

template <int kBits>
void matmulGroups(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                  std::ptrdiff_t stride) {
  for (int group = groupBegin; group < groupEnd; ++group) {
    int token = 0;
    for (; token + 2 <= x.tokens; token += 2)
      matmulTile<kBits, 2>(m, group, x, token, y, stride);
    for (; token < x.tokens; ++token)
      matmulTile<kBits, 1>(m, group, x, token, y, stride);
  }
}

void packedMatmul(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                  std::ptrdiff_t stride) {
  if (m.bits == 4)
    matmulGroups<4>(m, groupBegin, groupEnd, x, y, stride);
  else
    matmulGroups<8>(m, groupBegin, groupEnd, x, y, stride);
}

} // namespace

const Kernels& neonKernels() {
  using Float = FloatKernels<SimdNeon>;
  static const Kernels kernels{
      InstructionSet::kNeonDotprod, quantizeToken, packedMatmul, Float::floatMatmul, Float::rmsNorm,
      Float::siluMultiply,          Float::attend};
  return kernels;
}

} // namespace scenebus::cpu
