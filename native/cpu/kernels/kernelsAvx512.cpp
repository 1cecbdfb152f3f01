#include "cpu/kernels/floatKernels.h"
#include "cpu/kernels/packedTile.h"
#include "cpu/kernels/simdAvx512.h"

namespace scenebus::cpu {
namespace {

void quantizeToken(const float* x, int columns, int stride, std::int8_t* values, float* scales, std::int32_t* biases) {
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

/** Bytes ahead of all streams together that are asked for, with one token and with many. */
constexpr int kPrefetchBytesOfOne = 4096, kPrefetchBytesOfMany = 8192;

SCENEBUS_INLINE void prefetchBlock(const std::uint8_t* block, int sizeBytes, int aheadBytes) {
  for (int line = 0; line < sizeBytes; line += 64)
    _mm_prefetch(reinterpret_cast<const char*>(block) + aheadBytes + line, _MM_HINT_T0);
}

SCENEBUS_INLINE __m512i inputs(const std::int8_t* x, int line) {
  std::int32_t four;
  __builtin_memcpy(&four, x + line * 4, sizeof(four));
  return _mm512_set1_epi32(four);
}

/** Keeps the compiler from computing in another order, for which it would move registers to the stack. */
SCENEBUS_INLINE __m512i pinned(__m512i v) {
  asm("" : "+v"(v));
  return v;
}

/** 4 bits: unsigned weights (value + 8), so that a sum starts at −8·Σx. 8 bits: plus 128, and it starts at −128·Σx. */
template <int kBits> SCENEBUS_INLINE __m512i firstSum(std::int32_t bias) {
  return _mm512_set1_epi32(kBits == 4 ? bias : bias * 16);
}

template <int kTokens, int kStreams> using Totals = __m512[kStreams][kTokens];

/** `totals += scale · weights · inputs` of a block of every stream, one token: its inputs are loaded once for all. */
template <int kBits, int kStreams>
SCENEBUS_INLINE void addBlocksOfOne(const PackedTile& tile, Totals<1, kStreams>& totals) {
  constexpr int kBlockBytes = kBits == 4 ? 256 : 512;
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i in[8];
#pragma GCC unroll 8
  for (int line = 0; line < 8; ++line)
    in[line] = pinned(inputs(tile.values, line));
#pragma GCC unroll 4
  for (int s = 0; s < kStreams; ++s) {
    const std::uint8_t* block = tile.weights + s * tile.next;
    prefetchBlock(block, kBlockBytes, kPrefetchBytesOfOne / kStreams);
    // Two chains of sums, because one instruction waits for the one before it.
    __m512i even = firstSum<kBits>(tile.biases[0]), odd = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int line = 0; line < 4; ++line) {
      const __m512i loaded = pinned(_mm512_loadu_si512(block + line * 64));
      __m512i low, high;
      if constexpr (kBits == 4) {
        low = _mm512_and_si512(loaded, nibble);
        high = _mm512_andnot_si512(nibble, loaded); // 16 times too large: shifting the sum is cheaper
      } else {
        low = _mm512_xor_si512(loaded, offset);
        high = _mm512_xor_si512(_mm512_loadu_si512(block + (line + 4) * 64), offset);
      }
      even = pinned(_mm512_dpbusd_epi32(even, low, in[line]));
      odd = pinned(_mm512_dpbusd_epi32(odd, high, in[line + 4]));
    }
    const __m512i sums = _mm512_add_epi32(even, kBits == 4 ? _mm512_srai_epi32(odd, 4) : odd);
    totals[s][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(tile.scales[0]), totals[s][0]);
  }
}

/** Line j of the outcome: inputs 4j … 4j+3 of 16 rows. */
template <int kBits> SCENEBUS_INLINE void unpackBlock(const std::uint8_t* block, __m512i* weights) {
  if constexpr (kBits == 4) {
    const __m512i nibble = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int line = 0; line < 4; ++line) {
      const __m512i both = pinned(_mm512_loadu_si512(block + line * 64));
      weights[line] = pinned(_mm512_and_si512(both, nibble));
      weights[line + 4] = pinned(_mm512_and_si512(_mm512_srli_epi16(both, 4), nibble));
    }
  } else {
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int line = 0; line < 8; ++line)
      weights[line] = pinned(_mm512_xor_si512(_mm512_loadu_si512(block + line * 64), offset));
  }
}

/** The same with the weights of all streams in registers: unpacked once for all tokens, two of which go side by side.
 */
template <int kBits, int kTokens, int kStreams>
SCENEBUS_INLINE void addBlocksOfMany(const PackedTile& tile, Totals<kTokens, kStreams>& totals) {
  constexpr int kBlockBytes = kBits == 4 ? 256 : 512;
  constexpr int kPair = 2;
  __m512i weights[kStreams][8];
#pragma GCC unroll 2
  for (int s = 0; s < kStreams; ++s) {
    const std::uint8_t* block = tile.weights + s * tile.next;
    prefetchBlock(block, kBlockBytes, kPrefetchBytesOfMany / kStreams);
    unpackBlock<kBits>(block, weights[s]);
  }
#pragma GCC unroll 4
  for (int t0 = 0; t0 < kTokens; t0 += kPair) {
    __m512i sums[kStreams][kPair];
#pragma GCC unroll 2
    for (int t = 0; t < kPair; ++t)
#pragma GCC unroll 2
      for (int s = 0; s < kStreams; ++s)
        sums[s][t] = firstSum<kBits>(tile.biases[t0 + t]);
#pragma GCC unroll 8
    for (int line = 0; line < 8; ++line)
#pragma GCC unroll 2
      for (int t = 0; t < kPair; ++t) {
        const __m512i in = pinned(inputs(tile.values + (t0 + t) * kBlockColumns, line));
#pragma GCC unroll 2
        for (int s = 0; s < kStreams; ++s)
          sums[s][t] = pinned(_mm512_dpbusd_epi32(sums[s][t], weights[s][line], in));
      }
#pragma GCC unroll 2
    for (int t = 0; t < kPair; ++t) {
      const __m512 scale = _mm512_set1_ps(tile.scales[t0 + t]);
#pragma GCC unroll 2
      for (int s = 0; s < kStreams; ++s)
        totals[s][t0 + t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[s][t]), scale, totals[s][t0 + t]);
    }
  }
}

/**
 * `kStreams` groups of 16 rows, `apart` groups from each other, times kTokens tokens, a block of each in turn.
 * One token waits for memory, which gives more to several streams than to one (at every page one of them waits for its
 * address, and the others go on), and most when each of them goes on where it ended: that is why they lie apart.
 * Many tokens wait for inputs to be loaded: two streams use them together.
 */
template <int kBits, int kTokens, int kStreams>
SCENEBUS_INLINE void matmulTile(const PackedMatrix& m, int group, int apart, const QuantizedTokens& x, int token,
                                float* y, std::ptrdiff_t stride) {
  constexpr int kBlockBytes = kBits == 4 ? 256 : 512;
  PackedTile tile(m, group, apart, x, token);
  Totals<kTokens, kStreams> totals = {};
  for (int i = 0; i < tile.scaleGroups; ++i) {
    tile.enter(i);
    Totals<kTokens, kStreams> groupTotals;
    for (auto& stream : groupTotals)
      for (auto& total : stream)
        total = _mm512_setzero_ps();
    for (int b = 0; b < tile.blocksPerScale; ++b, tile.advance(kBlockBytes)) {
      if constexpr (kTokens == 1)
        addBlocksOfOne<kBits, kStreams>(tile, groupTotals);
      else
        addBlocksOfMany<kBits, kTokens, kStreams>(tile, groupTotals);
    }
    for (int s = 0; s < kStreams; ++s) {
      const auto* at = reinterpret_cast<const __m256i*>(tile.weightScales + s * tile.next);
      const __m512 scales = _mm512_cvtph_ps(_mm256_loadu_si256(at));
      for (int t = 0; t < kTokens; ++t)
        totals[s][t] = _mm512_fmadd_ps(groupTotals[s][t], scales, totals[s][t]);
    }
  }
  for (int s = 0; s < kStreams; ++s) {
    const int begin = (group + s * apart) * kGroupRows;
    const int rows = m.rows - begin;
    const __mmask16 mask = rows >= kGroupRows ? 0xffff : static_cast<__mmask16>((1u << rows) - 1);
    const __m512 factors = _mm512_loadu_ps(m.rowFactors + begin);
    for (int t = 0; t < kTokens; ++t)
      _mm512_mask_storeu_ps(y + (token + t) * stride + begin, mask, _mm512_mul_ps(totals[s][t], factors));
  }
}

/** Groups `[groupBegin, groupEnd)` times all tokens of `x`, as far as whole tiles of `kStreams` groups go: how far. */
template <int kBits, int kTokens, int kStreams>
SCENEBUS_INLINE int matmulStreams(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedTokens& x,
                                  float* y, std::ptrdiff_t stride) {
  const int apart = (groupEnd - groupBegin) / kStreams;
  for (int group = groupBegin; group < groupBegin + apart; ++group) {
    int token = 0;
    for (; token + kTokens <= x.tokens; token += kTokens)
      matmulTile<kBits, kTokens, kStreams>(m, group, apart, x, token, y, stride);
    if constexpr (kTokens > 4)
      for (; token + 4 <= x.tokens; token += 4)
        matmulTile<kBits, 4, kStreams>(m, group, apart, x, token, y, stride);
    if constexpr (kTokens > 2)
      for (; token + 2 <= x.tokens; token += 2)
        matmulTile<kBits, 2, kStreams>(m, group, apart, x, token, y, stride);
    for (; token < x.tokens; ++token)
      matmulTile<kBits, 1, kStreams>(m, group, apart, x, token, y, stride);
  }
  return groupBegin + apart * kStreams;
}

template <int kBits>
void matmulGroups(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                  std::ptrdiff_t stride) {
  int group = groupBegin;
  if (x.tokens == 1)
    group = matmulStreams<kBits, 1, 4>(m, group, groupEnd, x, y, stride);
  group = matmulStreams<kBits, 8, 2>(m, group, groupEnd, x, y, stride);
  matmulStreams<kBits, 8, 1>(m, group, groupEnd, x, y, stride);
}

void packedMatmul(const PackedMatrix& m, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                  std::ptrdiff_t stride) {
  if (m.bits == 4)
    matmulGroups<4>(m, groupBegin, groupEnd, x, y, stride);
  else
    matmulGroups<8>(m, groupBegin, groupEnd, x, y, stride);
}

} // namespace

const Kernels& avx512Kernels() {
  using Float = FloatKernels<SimdAvx512>;
  static const Kernels kernels{
      InstructionSet::kAvx512Vnni, quantizeToken, packedMatmul, Float::floatMatmul, Float::rmsNorm,
      Float::siluMultiply,         Float::attend};
  return kernels;
}

} // namespace scenebus::cpu
