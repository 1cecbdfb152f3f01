#include "cpu/kernels/floatKernels.h"
#include "cpu/kernels/packedTile.h"
#include "cpu/kernels/simdAvx2.h"

namespace scenebus::cpu {
namespace {

SCENEBUS_INLINE int sumOf(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 1)));
}

void quantizeToken(const float* x, int columns, int stride, std::int8_t* values, float* scales, std::int32_t* biases) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int block = 0; block < columns / kBlockColumns; ++block, x += kBlockColumns, values += stride * kBlockColumns) {
    __m256 v[4];
    __m256 wide = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + i * 8);
      wide = _mm256_max_ps(wide, _mm256_andnot_ps(sign, v[i]));
    }
    const float max = SimdAvx2::maxOf(wide);
    const float inverse = max > kSmallestBlockMax ? 127.0f / max : 0.0f;
    const __m256 factor = _mm256_set1_ps(inverse);
    __m256i q[4];
    for (int i = 0; i < 4; ++i)
      q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], factor));
    const __m256i sums = _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
    // The packs work on halves of the register; `order` puts the four-byte pieces back in sequence.
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    // Numbers become −127 … 127; NaN, and infinity times 0, become the smallest integer, packed −128. Looking for that
    // here keeps the maximum, which the division waits for, as fast as it is.
    if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(-128))) != 0) {
      storeNotFinite(values, scales + block * stride, biases + block * stride);
      continue;
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(values), _mm256_permutevar8x32_epi32(bytes, order));
    scales[block * stride] = inverse > 0.0f ? max / 127.0f : 0.0f;
    biases[block * stride] = -8 * sumOf(sums);
  }
}

/** Bytes ahead of one stream that are asked for; hides the latency that the hardware prefetcher leaves. */
constexpr int kPrefetchBytes = 4096;

SCENEBUS_INLINE void prefetchBlock(const std::uint8_t* block, int sizeBytes) {
  for (int line = 0; line < sizeBytes; line += 64)
    _mm_prefetch(reinterpret_cast<const char*>(block) + kPrefetchBytes + line, _MM_HINT_T0);
}

SCENEBUS_INLINE __m256i inputs(const std::int8_t* x, int line) {
  std::int32_t four;
  __builtin_memcpy(&four, x + line * 4, sizeof(four));
  return _mm256_set1_epi32(four);
}

/** Keeps the compiler from summing in another order, for which it would move a third of all sums out of registers. */
SCENEBUS_INLINE __m256i pinned(__m256i v) {
  asm("" : "+x"(v));
  return v;
}

template <int kTokens> using Totals = __m256[2][kTokens];

template <int kTokens> SCENEBUS_INLINE void clear(Totals<kTokens>& totals) {
  for (auto& half : totals)
    for (auto& total : half)
      total = _mm256_setzero_ps();
}

/** `totals += groupTotals · weightScales` */
template <int kTokens>
SCENEBUS_INLINE void addScaled(Totals<kTokens>& totals, const Totals<kTokens>& groupTotals,
                               const std::uint8_t* scaleBytes) {
  const auto* scales = reinterpret_cast<const std::uint16_t*>(scaleBytes);
  for (int half = 0; half < 2; ++half)
    for (int t = 0; t < kTokens; ++t)
      totals[half][t] = _mm256_fmadd_ps(groupTotals[half][t], SimdAvx2::loadF16(scales + half * 8), totals[half][t]);
}

template <int kTokens>
SCENEBUS_INLINE void store(const Totals<kTokens>& totals, const PackedMatrix& m, int group, float* y,
                           std::ptrdiff_t stride) {
  const int begin = group * kGroupRows;
  const int rows = m.rows - begin < kGroupRows ? m.rows - begin : kGroupRows;
  for (int t = 0; t < kTokens; ++t) {
    float out[kGroupRows];
    for (int half = 0; half < 2; ++half)
      _mm256_storeu_ps(out + half * 8,
                       _mm256_mul_ps(totals[half][t], _mm256_loadu_ps(m.rowFactors + begin + half * 8)));
    for (int lane = 0; lane < rows; ++lane)
      y[t * stride + begin + lane] = out[lane];
  }
}

/** `totals += scale · weights · inputs` of a block in 4 bits: an input is read once for 16 rows. */
template <int kTokens>
SCENEBUS_INLINE void addBlockInt4(const PackedTile& tile, const std::uint8_t* block, Totals<kTokens>& totals) {
  const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  // 8 steps of two products up to 15 · 127 stay below 2^15, so one widening at the end is enough.
  __m256i sums[2][kTokens];
#pragma GCC unroll 4
  for (int line = 0; line < 4; ++line) {
    const auto* at = reinterpret_cast<const __m256i*>(block + line * 64);
    const __m256i both[2] = {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
#pragma GCC unroll 2
    for (int upper = 0; upper < 2; ++upper) {
      __m256i weights[2];
      for (int half = 0; half < 2; ++half)
        weights[half] = _mm256_and_si256(upper == 0 ? both[half] : _mm256_srli_epi16(both[half], 4), nibble);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const __m256i in = inputs(tile.values + t * kBlockColumns, line + upper * 4);
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m256i products = _mm256_maddubs_epi16(weights[half], in);
          const bool first = line == 0 && upper == 0;
          sums[half][t] = first ? products : pinned(_mm256_add_epi16(sums[half][t], products));
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    const __m256i bias = _mm256_set1_epi32(tile.biases[t]);
    const __m256 scale = _mm256_set1_ps(tile.scales[t]);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m256i wide = _mm256_add_epi32(_mm256_madd_epi16(sums[half][t], ones), bias);
      totals[half][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide), scale, totals[half][t]);
    }
  }
}

/** Signed times signed: |w| · (x with the sign of w). |w| ≤ 128, |x| ≤ 127: two products fit into 16 bits. */
SCENEBUS_INLINE __m256i signedBlockSums(const std::uint8_t* weights, const std::int8_t* x) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int line = 0; line < 8; ++line) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + line * 64));
    const __m256i products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(inputs(x, line), w));
    sums = pinned(_mm256_add_epi32(sums, _mm256_madd_epi16(products, ones)));
  }
  return sums;
}

/** The same in 8 bits: the weights of a block fill more than the registers; they are read again for every token. */
template <int kTokens>
SCENEBUS_INLINE void addBlockInt8(const PackedTile& tile, const std::uint8_t* block, Totals<kTokens>& totals) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half)
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256i sums = signedBlockSums(block + half * 32, tile.values + t * kBlockColumns);
      totals[half][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(tile.scales[t]), totals[half][t]);
    }
}

/**
 * `kStreams` groups of 16 rows one beside the other, a block of each in turn. Memory gives more to several streams than
 * to one (at every page one of them waits for its address, and the others go on), which is what few tokens wait for.
 */
template <int kBits, int kTokens, int kStreams>
SCENEBUS_INLINE void matmulTile(const PackedMatrix& m, int group, const QuantizedTokens& x, int token, float* y,
                                std::ptrdiff_t stride) {
  constexpr int kBlockBytes = kBits == 4 ? 256 : 512;
  PackedTile tile(m, group, 1, x, token);
  Totals<kTokens> totals[kStreams], groupTotals[kStreams];
  for (auto& each : totals)
    clear<kTokens>(each);
  for (int i = 0; i < tile.scaleGroups; ++i) {
    tile.enter(i);
    for (auto& each : groupTotals)
      clear<kTokens>(each);
    for (int b = 0; b < tile.blocksPerScale; ++b, tile.advance(kBlockBytes)) {
      if constexpr (kStreams == 1)
        prefetchBlock(tile.weights, kBlockBytes);
#pragma GCC unroll 4
      for (int s = 0; s < kStreams; ++s) {
        if constexpr (kBits == 4)
          addBlockInt4<kTokens>(tile, tile.weights + s * tile.next, groupTotals[s]);
        else
          addBlockInt8<kTokens>(tile, tile.weights + s * tile.next, groupTotals[s]);
      }
    }
    for (int s = 0; s < kStreams; ++s)
      addScaled<kTokens>(totals[s], groupTotals[s], tile.weightScales + s * tile.next);
  }
  for (int s = 0; s < kStreams; ++s)
    store<kTokens>(totals[s], m, group + s, y + token * stride, stride);
}

template <int kBits>
void matmulGroups(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                  std::ptrdiff_t stride) {
  constexpr int kStreams = 4;
  int group = groupBegin;
  if (x.tokens == 1)
    for (; group + kStreams <= groupEnd; group += kStreams)
      matmulTile<kBits, 1, kStreams>(m, group, x, 0, y, stride);
  if (x.tokens == 2)
    for (; group + kStreams <= groupEnd; group += kStreams)
      matmulTile<kBits, 2, kStreams>(m, group, x, 0, y, stride);
  for (; group < groupEnd; ++group) {
    int token = 0;
    for (; token + 4 <= x.tokens; token += 4)
      matmulTile<kBits, 4, 1>(m, group, x, token, y, stride);
    for (; token + 2 <= x.tokens; token += 2)
      matmulTile<kBits, 2, 1>(m, group, x, token, y, stride);
    for (; token < x.tokens; ++token)
      matmulTile<kBits, 1, 1>(m, group, x, token, y, stride);
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

const Kernels& avx2Kernels() {
  using Float = FloatKernels<SimdAvx2>;
  static const Kernels kernels{InstructionSet::kAvx2, quantizeToken,       packedMatmul, Float::floatMatmul,
                               Float::rmsNorm,        Float::siluMultiply, Float::attend};
  return kernels;
}

} // namespace scenebus::cpu
