#include "cpu/floatKernels.h"

#include <immintrin.h>

namespace scenebus::cpu {
namespace {

#define SCENEBUS_INLINE static inline __attribute__((always_inline))

struct SimdAvx512 {
  using Vector = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kAttendVectors = 4;
  SCENEBUS_INLINE Vector zero() { return _mm512_setzero_ps(); }
  SCENEBUS_INLINE Vector set1(float v) { return _mm512_set1_ps(v); }
  SCENEBUS_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
  SCENEBUS_INLINE void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  SCENEBUS_INLINE Vector loadF16(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  SCENEBUS_INLINE Vector loadBf16(const std::uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  SCENEBUS_INLINE Vector loadI8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  SCENEBUS_INLINE float scalarF32(const float* p) { return _mm_cvtss_f32(_mm_loadu_ps_one(p)); }
  SCENEBUS_INLINE float scalarF16(const std::uint16_t* p) { return _cvtsh_ss(unaligned(p)); }
  SCENEBUS_INLINE float scalarBf16(const std::uint16_t* p) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(unaligned(p)) << 16)));
  }
  SCENEBUS_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  SCENEBUS_INLINE Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  SCENEBUS_INLINE Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  SCENEBUS_INLINE Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  SCENEBUS_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  SCENEBUS_INLINE Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  SCENEBUS_INLINE Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  SCENEBUS_INLINE float sum(Vector v) { return _mm512_reduce_add_ps(v); }
  SCENEBUS_INLINE float maxOf(Vector v) { return _mm512_reduce_max_ps(v); }
  SCENEBUS_INLINE Vector round(Vector v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT); }
  SCENEBUS_INLINE Vector scaleByPowerOfTwo(Vector v, Vector n) { return _mm512_scalef_ps(v, n); }

 private:
  SCENEBUS_INLINE std::uint16_t unaligned(const std::uint16_t* p) {
    std::uint16_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  SCENEBUS_INLINE __m128 _mm_loadu_ps_one(const float* p) {
    float v;
    __builtin_memcpy(&v, p, sizeof(v));
    return _mm_set_ss(v);
  }
};

void quantizeRow(const float* x, int columns, int stride, std::int8_t* values, float* scales,
                 std::int32_t* biases) {
  for (int block = 0; block < columns / kBlockColumns; ++block, x += kBlockColumns, values += stride * kBlockColumns) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    constexpr int kNanOrInfinity = 0x01 | 0x80 | 0x08 | 0x10; // quiet and signalling NaN, +∞, −∞
    if ((_mm512_fpclass_ps_mask(low, kNanOrInfinity) | _mm512_fpclass_ps_mask(high, kNanOrInfinity)) != 0) {
      storeNotFinite(values, scales + block * stride, biases + block * stride);
      continue;
    }
    const float max = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    const float inverse = max > kSmallestBlockMax ? 127.0f / max : 0.0f;
    const __m512 factor = _mm512_set1_ps(inverse);
    const __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(low, factor));
    const __m512i q1 = _mm512_cvtps_epi32(_mm512_mul_ps(high, factor));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(values), _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(values + 16), _mm512_cvtepi32_epi8(q1));
    scales[block * stride] = inverse > 0.0f ? max / 127.0f : 0.0f;
    biases[block * stride] = -8 * _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
  }
}

/** Bytes ahead of the read position that are asked for; hides the latency that the hardware prefetcher leaves. */
constexpr int kPrefetchBytes = 4096;

SCENEBUS_INLINE __m512i inputs(const std::int8_t* x, int line) {
  std::int32_t four;
  __builtin_memcpy(&four, x + line * 4, sizeof(four));
  return _mm512_set1_epi32(four);
}

SCENEBUS_INLINE void storeRows(float* y, __m512 sums, __m512 factors, int rows) {
  const __mmask16 mask = rows >= kGroupRows ? 0xffff : static_cast<__mmask16>((1u << rows) - 1);
  _mm512_mask_storeu_ps(y, mask, _mm512_mul_ps(sums, factors));
}

/**
 * One group of 16 rows times kTokens activation rows; the weights of a block are unpacked once for all of them.
 * 4 bits: unsigned weights (value + 8), the sum starts at −8·Σx. 8 bits: weights become unsigned by adding 128, the
 * sum starts at −128·Σx.
 */
template <int kBits, int kTokens>
SCENEBUS_INLINE void productTile(const PackedMatrix& m, int group, const QuantizedRows& x, int row, float* y,
                                 std::ptrdiff_t stride, bool prefetch) {
  const int blocks = m.blocks();
  const int blocksPerScale = m.groupSize / kBlockColumns;
  constexpr int kBlockBytes = kBits == 4 ? 256 : 512;
  const std::uint8_t* w = m.values + group * m.groupValueBytes();
  const std::uint16_t* scale = m.scales + group * m.groupScaleCount();
  const std::ptrdiff_t first = x.firstBlock(row), width = x.tileWidth(row);
  const std::int8_t* xs = x.values + first * kBlockColumns;
  const float* xScales = x.scales + first;
  const std::int32_t* xBiases = x.biases + first;
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));

  __m512 totals[kTokens];
  for (int t = 0; t < kTokens; ++t)
    totals[t] = _mm512_setzero_ps();
  for (int begin = 0; begin < blocks; begin += blocksPerScale, scale += kGroupRows) {
    __m512 groupTotals[kTokens];
    for (int t = 0; t < kTokens; ++t)
      groupTotals[t] = _mm512_setzero_ps();
    for (int b = 0; b < blocksPerScale;
         ++b, w += kBlockBytes, xs += width * kBlockColumns, xScales += width, xBiases += width) {
      if (prefetch)
        for (int line = 0; line < kBlockBytes; line += 64)
          _mm_prefetch(reinterpret_cast<const char*>(w) + kPrefetchBytes + line, _MM_HINT_T0);
      __m512i weights[8];
      if constexpr (kBits == 4) {
#pragma GCC unroll 4
        for (int line = 0; line < 4; ++line) {
          const __m512i both = _mm512_loadu_si512(w + line * 64);
          weights[line] = _mm512_and_si512(both, nibble);
          weights[line + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
        }
      } else {
#pragma GCC unroll 8
        for (int line = 0; line < 8; ++line)
          weights[line] = _mm512_xor_si512(_mm512_loadu_si512(w + line * 64), offset);
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        const std::int8_t* p = xs + t * kBlockColumns;
        // Two chains of sums, because one instruction waits for the one before it.
        __m512i even = _mm512_set1_epi32(kBits == 4 ? xBiases[t] : xBiases[t] * 16);
        __m512i odd = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int line = 0; line < 4; ++line) {
          even = _mm512_dpbusd_epi32(even, weights[line], inputs(p, line));
          odd = _mm512_dpbusd_epi32(odd, weights[line + 4], inputs(p, line + 4));
        }
        groupTotals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(even, odd)), _mm512_set1_ps(xScales[t]),
                                         groupTotals[t]);
      }
    }
    const __m512 scales = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scale)));
    for (int t = 0; t < kTokens; ++t)
      totals[t] = _mm512_fmadd_ps(groupTotals[t], scales, totals[t]);
  }
  const __m512 factors = _mm512_loadu_ps(m.rowFactors + group * kGroupRows);
  for (int t = 0; t < kTokens; ++t)
    storeRows(y + (row + t) * stride + group * kGroupRows, totals[t], factors, m.rows - group * kGroupRows);
}

template <int kBits>
void productGroups(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedRows& x, float* y,
                   std::ptrdiff_t stride) {
  for (int group = groupBegin; group < groupEnd; ++group) {
    int row = 0;
    for (; row + 8 <= x.rows; row += 8)
      productTile<kBits, 8>(m, group, x, row, y, stride, row == 0);
    for (; row + 4 <= x.rows; row += 4)
      productTile<kBits, 4>(m, group, x, row, y, stride, row == 0);
    for (; row + 2 <= x.rows; row += 2)
      productTile<kBits, 2>(m, group, x, row, y, stride, row == 0);
    for (; row < x.rows; ++row)
      productTile<kBits, 1>(m, group, x, row, y, stride, row == 0);
  }
}

void packedProduct(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedRows& x, float* y,
                   std::ptrdiff_t stride) {
  if (m.bits == 4)
    productGroups<4>(m, groupBegin, groupEnd, x, y, stride);
  else
    productGroups<8>(m, groupBegin, groupEnd, x, y, stride);
}

} // namespace

const Kernels& avx512Kernels() {
  using Float = FloatKernels<SimdAvx512>;
  static const Kernels kernels{InstructionSet::kAvx512Vnni, quantizeRow,  packedProduct, Float::floatProduct,
                               Float::rmsNorm,              Float::siluMultiply, Float::attend};
  return kernels;
}

} // namespace scenebus::cpu
