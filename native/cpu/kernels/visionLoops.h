#pragma once
#include "cpu/kernels/floatKernels.h"
#include "cpu/kernels/visionKernels.h"

/**
 * The loops of the vision tower, written once over `Simd` (see floatKernels.h) and over `Products`, of each set:
 *   Sums: 32-bit sums of 16 rows; Weights: a line of 64 bytes; Input: 4 bytes for all 16 rows;
 *   zero, load, broadcast, addBytes (4 inputs of a byte), addShorts (2 of 16 bits), floats(sums, base, part): a Simd
 *   vector of sums − base; storeShorts(whole numbers); kGroups, kTokens: the tile whose sums fit into registers;
 *   kWeightLevels, kInputOffset.
 * Instantiated only in the vision<Set>.cpp files, under the same rules as floatKernels.h.
 */
namespace scenebus::cpu {

template <typename Simd, typename Products> struct VisionLoops {
  using Vector = typename Simd::Vector;
  using Sums = typename Products::Sums;
  using Float = FloatKernels<Simd>;
  static constexpr int kWidth = Simd::kWidth;
  static constexpr int kParts = kGroupRows / kWidth;
  static constexpr int kLineBytes = 64;
  static constexpr int kInputBytes = 4;

  // --- products ----------------------------------------------------------------------------------------------

  /** `sums[group][token] += Σ` over `lines` lines of kGroups groups (`apart` bytes from each other). */
  template <bool kShorts, int kGroups, int kTokens>
  static inline __attribute__((always_inline)) void addLines(const std::uint8_t* weights, std::ptrdiff_t apart,
                                                             int lines, const std::uint8_t* x, std::ptrdiff_t xStride,
                                                             Sums (&sums)[kGroups][kTokens]) {
    for (int line = 0; line < lines; ++line, weights += kLineBytes, x += kInputBytes) {
      typename Products::Weights w[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g)
        w[g] = Products::load(weights + g * apart);
#pragma GCC unroll 12
      for (int t = 0; t < kTokens; ++t) {
        const auto in = Products::broadcast(x + t * xStride);
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) {
          if constexpr (kShorts)
            sums[g][t] = Products::addShorts(sums[g][t], w[g], in);
          else
            sums[g][t] = Products::addBytes(sums[g][t], w[g], in);
        }
      }
    }
  }

  template <int kGroups, int kTokens>
  static inline __attribute__((always_inline)) void clear(Sums (&sums)[kGroups][kTokens]) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g)
#pragma GCC unroll 12
      for (int t = 0; t < kTokens; ++t)
        sums[g][t] = Products::zero();
  }

  /** What the offset of inputs adds to each row's sum. */
  static inline __attribute__((always_inline)) Sums offsetSums(const std::uint8_t* weights, int lines) {
    Sums sums = Products::zero();
    if constexpr (Products::kInputOffset != 0) {
      const std::uint8_t offset[kInputBytes] = {Products::kInputOffset, Products::kInputOffset, Products::kInputOffset,
                                                Products::kInputOffset};
      const auto in = Products::broadcast(offset);
      for (int line = 0; line < lines; ++line)
        sums = Products::addBytes(sums, Products::load(weights + line * kLineBytes), in);
    }
    return sums;
  }

  // --- linear layers -----------------------------------------------------------------------------------------

  /** What is done with the sums of up to kGroups groups of rows. */
  template <int kGroups> struct Panel {
    const std::uint8_t* weights[kGroups];
    Sums offsets[kGroups];
    float scales[kGroups][kGroupRows];
    float biases[kGroups][kGroupRows];
    int rows[kGroups];
  };

  template <int kGroups, int kTokens>
  static void matmulTile(const PackedMatrix& m, const Panel<kGroups>& panel, const ByteTokens& x, int token, float* y,
                         std::ptrdiff_t stride) {
    Sums sums[kGroups][kTokens];
    clear<kGroups, kTokens>(sums);
    const std::ptrdiff_t columns = x.columns;
    addLines<false, kGroups, kTokens>(panel.weights[0], static_cast<std::ptrdiff_t>(m.groupBytes()),
                                      x.columns / kInputBytes, x.values + token * columns, columns, sums);
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) {
      const Vector scale = Simd::set1(x.scales[token + t]);
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        float* to = y + t * stride + g * kGroupRows;
        float partial[kGroupRows];
        float* at = panel.rows[g] == kGroupRows ? to : partial;
#pragma GCC unroll 16
        for (int p = 0; p < kParts; ++p) {
          const Vector factor = Simd::mul(Simd::load(panel.scales[g] + p * kWidth), scale);
          Simd::store(at + p * kWidth, Simd::fma(Products::floats(sums[g][t], panel.offsets[g], p), factor,
                                                 Simd::load(panel.biases[g] + p * kWidth)));
        }
        if (at == partial)
          for (int lane = 0; lane < panel.rows[g]; ++lane)
            to[lane] = partial[lane];
      }
    }
  }

  template <int kGroups>
  static void matmulPanel(const PackedMatrix& m, const float* bias, int group, const ByteTokens& x, int tokenBegin,
                          int tokenEnd, float* y, std::ptrdiff_t stride) {
    Panel<kGroups> panel;
    for (int g = 0; g < kGroups; ++g) {
      const std::uint8_t* data = m.data + (group + g) * static_cast<std::ptrdiff_t>(m.groupBytes());
      panel.weights[g] = data + m.valuesOffset(0);
      panel.offsets[g] = offsetSums(panel.weights[g], m.columns / kInputBytes);
      const auto* scales = reinterpret_cast<const std::uint16_t*>(data + m.scalesOffset(0));
      const int begin = (group + g) * kGroupRows;
      panel.rows[g] = m.rows - begin < kGroupRows ? m.rows - begin : kGroupRows;
      for (int p = 0; p < kGroupRows; p += kWidth)
        Simd::store(panel.scales[g] + p, Simd::mul(Simd::loadF16(scales + p), Simd::load(m.rowFactors + begin + p)));
      for (int lane = 0; lane < kGroupRows; ++lane)
        panel.biases[g][lane] = bias != nullptr && lane < panel.rows[g] ? bias[begin + lane] : 0.0f;
    }
    constexpr int kTokens = Products::kTokens;
    float* out = y + group * kGroupRows;
    int token = tokenBegin;
    for (; token + kTokens <= tokenEnd; token += kTokens)
      matmulTile<kGroups, kTokens>(m, panel, x, token, out + token * stride, stride);
    if constexpr (kTokens > 4)
      for (; token + 4 <= tokenEnd; token += 4)
        matmulTile<kGroups, 4>(m, panel, x, token, out + token * stride, stride);
    for (; token < tokenEnd; ++token)
      matmulTile<kGroups, 1>(m, panel, x, token, out + token * stride, stride);
  }

  static void matmul(const PackedMatrix& m, const float* bias, int groupBegin, int groupEnd, const ByteTokens& x,
                     int tokenBegin, int tokenEnd, float* y, std::ptrdiff_t stride) {
    int group = groupBegin;
    for (; group + Products::kGroups <= groupEnd; group += Products::kGroups)
      matmulPanel<Products::kGroups>(m, bias, group, x, tokenBegin, tokenEnd, y, stride);
    for (; group < groupEnd; ++group)
      matmulPanel<1>(m, bias, group, x, tokenBegin, tokenEnd, y, stride);
  }

  // --- elementwise -------------------------------------------------------------------------------------------

  static void quantizeRow(const float* x, int columns, int levels, int offset, std::uint8_t* values, float* scale) {
    // Among bits, where infinity and NaN are above all numbers: a comparison of floats would drop a NaN.
    std::uint32_t most = 0;
    for (int i = 0; i < columns; ++i) {
      std::uint32_t bits;
      __builtin_memcpy(&bits, x + i, sizeof(bits));
      bits &= 0x7fffffffu;
      most = bits > most ? bits : most;
    }
    float max;
    __builtin_memcpy(&max, &most, sizeof(max));
    if (most >= 0x7f800000u) {
      __builtin_memset(values, offset, static_cast<std::size_t>(columns));
      *scale = __builtin_nanf("");
      return;
    }
    const float top = static_cast<float>(levels);
    const float inverse = max > kSmallestBlockMax ? top / max : 0.0f;
    // Adding 1.5 · 2^23 rounds to a whole number, ties to even, and leaves it in the low bits.
    for (int i = 0; i < columns; ++i) {
      const float product = x[i] * inverse;
      const float shifted = product + 12582912.0f;
      std::uint32_t bits;
      __builtin_memcpy(&bits, &shifted, sizeof(bits));
      values[i] = static_cast<std::uint8_t>(bits + static_cast<std::uint32_t>(offset));
    }
    *scale = inverse > 0.0f ? max / top : 0.0f;
  }

  static void layerNorm(const float* x, const float* weight, const float* bias, int count, float eps, float* y) {
    Vector wide = Simd::zero();
    int i = 0;
    for (; i + kWidth <= count; i += kWidth)
      wide = Simd::add(wide, Simd::load(x + i));
    float total = Simd::sum(wide);
    for (; i < count; ++i)
      total += x[i];
    const float mean = total / static_cast<float>(count);
    Vector squares = Simd::zero();
    const Vector shift = Simd::set1(mean);
    for (i = 0; i + kWidth <= count; i += kWidth) {
      const Vector d = Simd::sub(Simd::load(x + i), shift);
      squares = Simd::fma(d, d, squares);
    }
    float spread = Simd::sum(squares);
    for (; i < count; ++i)
      spread += (x[i] - mean) * (x[i] - mean);
    // Squares that overflow would give a row of zeros: the difference, 0 for every number, makes it one of NaN.
    const float inverse = 1.0f / __builtin_sqrtf(spread / static_cast<float>(count) + eps) + (spread - spread);
    const Vector factor = Simd::set1(inverse);
    for (i = 0; i + kWidth <= count; i += kWidth) {
      const Vector d = Simd::mul(Simd::sub(Simd::load(x + i), shift), factor);
      Simd::store(y + i, Simd::fma(d, Simd::load(weight + i), Simd::load(bias + i)));
    }
    for (; i < count; ++i)
      y[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
  }

  /** erf by Abramowitz and Stegun, 7.1.26. */
  static inline __attribute__((always_inline)) Vector geluOf(Vector x) {
    const Vector one = Simd::set1(1.0f), half = Simd::set1(0.5f);
    const Vector z = Simd::mul(x, Simd::set1(0.70710678118654752f));
    const Vector magnitude = Simd::max(Simd::sub(Simd::zero(), z), z); // a NaN is in both
    const Vector t = Simd::div(one, Simd::fma(Simd::set1(0.3275911f), magnitude, one));
    Vector p = Simd::set1(1.061405429f);
    p = Simd::fma(p, t, Simd::set1(-1.453152027f));
    p = Simd::fma(p, t, Simd::set1(1.421413741f));
    p = Simd::fma(p, t, Simd::set1(-0.284496736f));
    p = Simd::fma(p, t, Simd::set1(0.254829592f));
    const Vector squared = Simd::mul(magnitude, magnitude);
    const Vector tail = Simd::mul(Simd::mul(p, t), Float::exponential(Simd::sub(Simd::zero(), squared)));
    // x · Φ(x) = x/2 + |x|/2 · erf(|z|): no sign to bring back.
    const Vector size = Simd::max(Simd::sub(Simd::zero(), x), x);
    return Simd::mul(half, Simd::fma(size, Simd::sub(one, tail), x));
  }

  static void gelu(float* x, int count) {
    int i = 0;
    for (; i + kWidth <= count; i += kWidth)
      Simd::store(x + i, geluOf(Simd::load(x + i)));
    if (i == count)
      return;
    float in[kWidth] = {}, out[kWidth];
    for (int rest = i; rest < count; ++rest)
      in[rest - i] = x[rest];
    Simd::store(out, geluOf(Simd::load(in)));
    for (int rest = i; rest < count; ++rest)
      x[rest] = out[rest - i];
  }

  // --- attention ---------------------------------------------------------------------------------------------

  /** 2ˣ for x ≤ 0, relative error below 5e-6; from −40 on as good as 0. NaN stays. */
  static inline __attribute__((always_inline)) Vector power(Vector x) {
    x = Simd::min(Simd::zero(), Simd::max(Simd::set1(-40.0f), x));
    const Vector n = Simd::round(x);
    const Vector r = Simd::sub(x, n);
    Vector p = Simd::set1(1.3333558e-3f);
    p = Simd::fma(p, r, Simd::set1(9.6181291e-3f));
    p = Simd::fma(p, r, Simd::set1(5.5504109e-2f));
    p = Simd::fma(p, r, Simd::set1(2.4022651e-1f));
    p = Simd::fma(p, r, Simd::set1(6.9314718e-1f));
    p = Simd::fma(p, r, Simd::set1(1.0f));
    return Simd::scaleByPowerOfTwo(p, n);
  }

  static constexpr int kNothing = -1000000; // a score that no key has

  /** Scores of `kQueries` queries and the keys of `kGroups` groups, `scores[query][kVisionKeyBlock]`. */
  template <int kGroups, int kQueries>
  static void scoreTile(const VisionAttention& a, int key, int query, float* scores) {
    Sums sums[kGroups][kQueries];
    clear<kGroups, kQueries>(sums);
    const int lines = a.keys.headDim / kInputBytes;
    const std::ptrdiff_t apart = lines * kLineBytes;
    const std::uint8_t* keys = a.keys.keys + key / kGroupRows * apart;
    addLines<false, kGroups, kQueries>(keys, apart, lines,
                                       a.queries.values + static_cast<std::ptrdiff_t>(query) * a.keys.headDim,
                                       a.keys.headDim, sums);
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const Sums offsets = offsetSums(keys + g * apart, lines);
      for (int p = 0; p < kParts; ++p) {
        const int at = g * kGroupRows + p * kWidth;
        const Vector keyScale = Simd::load(a.keys.keyScales + key + at), bias = Simd::load(a.keys.keyBiases + key + at);
#pragma GCC unroll 12
        for (int q = 0; q < kQueries; ++q) {
          const Vector scale = Simd::mul(keyScale, Simd::set1(a.queries.scales[query + q]));
          Simd::store(scores + q * kVisionKeyBlock + at,
                      Simd::fma(Products::floats(sums[g][q], offsets, p), scale, bias));
        }
      }
    }
  }

  template <int kQueries>
  static void scoreBlock(const VisionAttention& a, int begin, int padded, int query, float* scores) {
    int key = 0;
    for (; key + Products::kGroups * kGroupRows <= padded; key += Products::kGroups * kGroupRows)
      scoreTile<Products::kGroups, kQueries>(a, begin + key, query, scores + key);
    for (; key < padded; key += kGroupRows)
      scoreTile<1, kQueries>(a, begin + key, query, scores + key);
  }

  /** `outputs[query][headDim] += probabilities · values` of a block of keys, in units of both. */
  template <int kGroups, int kQueries>
  static void valueTile(const std::uint8_t* values, int pairs, const std::uint8_t* probabilities, float* outputs,
                        int headDim) {
    Sums sums[kGroups][kQueries];
    clear<kGroups, kQueries>(sums);
    addLines<true, kGroups, kQueries>(values, kVisionKeyBlock / 2 * kLineBytes, pairs, probabilities,
                                      kVisionKeyBlock * static_cast<int>(sizeof(std::int16_t)), sums);
    const Sums none = Products::zero();
#pragma GCC unroll 12
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g)
        for (int p = 0; p < kParts; ++p) {
          float* at = outputs + q * headDim + g * kGroupRows + p * kWidth;
          Simd::store(at, Simd::add(Simd::load(at), Products::floats(sums[g][q], none, p)));
        }
  }

  template <int kQueries>
  static void addValues(const std::uint8_t* values, int pairs, const std::uint8_t* probabilities, float* outputs,
                        int headDim) {
    constexpr std::ptrdiff_t kGroupBytes = kVisionKeyBlock / 2 * kLineBytes;
    int d = 0;
    for (; d + Products::kGroups * kGroupRows <= headDim; d += Products::kGroups * kGroupRows)
      valueTile<Products::kGroups, kQueries>(values + d / kGroupRows * kGroupBytes, pairs, probabilities, outputs + d,
                                             headDim);
    for (; d < headDim; d += kGroupRows)
      valueTile<1, kQueries>(values + d / kGroupRows * kGroupBytes, pairs, probabilities, outputs + d, headDim);
  }

  struct Softmax {
    float max;
    float sum;
  };

  /** Scores of a block to probabilities in 16 bits; what was gathered so far shrinks when the maximum rises. */
  static void foldScores(const float* scores, int padded, Softmax& state, std::int16_t* probabilities, float* output,
                         int headDim) {
    Vector wide = Simd::load(scores);
    for (int i = kWidth; i < padded; i += kWidth)
      wide = Simd::max(wide, Simd::load(scores + i));
    const float found = Simd::maxOf(wide);
    if (found > state.max) {
      float factors[kWidth];
      Simd::store(factors, power(Simd::set1(state.max - found)));
      const Vector factor = Simd::set1(factors[0]);
      state.sum *= factors[0];
      for (int d = 0; d < headDim; d += kWidth)
        Simd::store(output + d, Simd::mul(Simd::load(output + d), factor));
      state.max = found;
    }
    const Vector shift = Simd::set1(state.max), levels = Simd::set1(static_cast<float>(kProbabilityLevels));
    Vector total = Simd::zero();
    for (int i = 0; i < padded; i += kWidth) {
      const Vector p = Simd::round(Simd::mul(power(Simd::sub(Simd::load(scores + i), shift)), levels));
      Products::storeShorts(probabilities + i, p);
      total = Simd::add(total, p); // a NaN has no whole number, but is kept here
    }
    state.sum += Simd::sum(total);
  }

  template <int kQueries> static void attendTile(const VisionAttention& a, int query) {
    const int headDim = a.keys.headDim;
    float* scores = a.scratch;
    auto* probabilities = reinterpret_cast<std::int16_t*>(scores + kVisionQueries * kVisionKeyBlock);
    float* outputs = scores + kVisionQueries * (kVisionKeyBlock + kVisionKeyBlock / 2);
    Softmax states[kQueries];
    for (int q = 0; q < kQueries; ++q)
      states[q] = {-1e30f, 0.0f};
    for (int i = 0; i < kQueries * headDim; ++i)
      outputs[i] = 0.0f;
    for (int begin = 0; begin < a.keyCount; begin += kVisionKeyBlock) {
      const int rest = a.keyCount - begin;
      const int count = rest < kVisionKeyBlock ? rest : kVisionKeyBlock;
      const int padded = (count + kGroupRows - 1) / kGroupRows * kGroupRows;
      scoreBlock<kQueries>(a, begin, padded, query, scores);
      for (int q = 0; q < kQueries; ++q) {
        float* row = scores + q * kVisionKeyBlock;
        for (int i = count; i < padded; ++i)
          row[i] = static_cast<float>(kNothing);
        foldScores(row, padded, states[q], probabilities + q * kVisionKeyBlock, outputs + q * headDim, headDim);
      }
      const std::uint8_t* values = a.keys.values + static_cast<std::ptrdiff_t>(begin) * headDim * sizeof(std::int16_t);
      addValues<kQueries>(values, padded / 2, reinterpret_cast<const std::uint8_t*>(probabilities), outputs, headDim);
    }
    for (int q = 0; q < kQueries; ++q) {
      const float inverse = 1.0f / states[q].sum;
      float* to = a.outputs + (query + q) * a.stride;
      for (int d = 0; d < a.outputDim; ++d)
        to[d] = outputs[q * headDim + d] * (inverse * a.keys.valueScales[d]);
    }
  }

  static void attend(const VisionAttention& a) {
    constexpr int kQueries = Products::kTokens;
    static_assert(kQueries <= kVisionQueries);
    int query = 0;
    for (; query + kQueries <= a.queryCount; query += kQueries)
      attendTile<kQueries>(a, query);
    for (; query < a.queryCount; ++query)
      attendTile<1>(a, query);
  }
};

} // namespace scenebus::cpu
