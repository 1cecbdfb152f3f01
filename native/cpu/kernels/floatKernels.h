#pragma once
#include "cpu/kernels/kernels.h"

/**
 * The float loops, written once over a `Simd` type that each instruction set supplies:
 *   Vector, kWidth (divides 16), kAttendVectors (vectors of sums that registers hold for each of 4 queries), zero,
 *   set1, load, store, add, sub, mul, div, fma(a, b, c) = a·b + c, max, min, sum, maxOf, loadF16, loadBf16,
 *   loadI8 (signed bytes), scalarF32, scalarF16, scalarBf16 (one number, any alignment), round (to nearest even),
 *   scaleByPowerOfTwo(v, n) = v · 2ⁿ for whole n in [−126, 127].
 * max and min may drop a NaN in their first argument, as the x86 instructions do, but not one in their second.
 *
 * Infinities and NaN must reach the logits, where they are found: what hides one answers wrongly with nobody knowing.
 * Instantiated only in the kernels<Set>.cpp files. Those are compiled for instructions that other machines lack, so
 * nothing here may call an inline function that the linker could share with other files (no std:: templates).
 */
namespace scenebus::cpu {

/** Quantises a block that holds an infinity or a NaN: its scale makes NaN of every sum that the block is part of. */
SCENEBUS_FORCE_INLINE void storeNotFinite(std::int8_t* values, float* scale, std::int32_t* bias) {
  __builtin_memset(values, 0, kBlockColumns);
  *scale = __builtin_nanf("");
  *bias = 0;
}

template <typename Simd> struct FloatKernels {
  using Vector = typename Simd::Vector;
  static constexpr int kWidth = Simd::kWidth;
  /** Registers that make up the 16 positions or dimensions of an attention block. */
  static constexpr int kParts = kKeyBlock / kWidth;

  template <ScalarType type>
  static inline __attribute__((always_inline)) Vector loadAs(const void* data, std::ptrdiff_t index) {
    if constexpr (type == ScalarType::kF32)
      return Simd::load(static_cast<const float*>(data) + index);
    else if constexpr (type == ScalarType::kF16)
      return Simd::loadF16(static_cast<const std::uint16_t*>(data) + index);
    else
      return Simd::loadBf16(static_cast<const std::uint16_t*>(data) + index);
  }

  template <ScalarType type>
  static inline __attribute__((always_inline)) float loadOne(const void* data, std::ptrdiff_t index) {
    if constexpr (type == ScalarType::kF32)
      return Simd::scalarF32(static_cast<const float*>(data) + index);
    else if constexpr (type == ScalarType::kF16)
      return Simd::scalarF16(static_cast<const std::uint16_t*>(data) + index);
    else
      return Simd::scalarBf16(static_cast<const std::uint16_t*>(data) + index);
  }

  // --- matmuls with weights as stored ------------------------------------------------------------------------

  /** A tile of outputs: kRows rows of weights times kTokens tokens, all sums in registers. */
  template <ScalarType type, int kRows, int kTokens>
  static void matmulTile(const void* weights, int columns, const float* x, float* y, std::ptrdiff_t stride) {
    Vector sums[kRows][kTokens];
    for (int r = 0; r < kRows; ++r)
      for (int t = 0; t < kTokens; ++t)
        sums[r][t] = Simd::zero();
    int k = 0;
    for (; k + kWidth <= columns; k += kWidth) {
      Vector xs[kTokens];
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t)
        xs[t] = Simd::load(x + static_cast<std::ptrdiff_t>(t) * columns + k);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const Vector w = loadAs<type>(weights, static_cast<std::ptrdiff_t>(r) * columns + k);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t)
          sums[r][t] = Simd::fma(w, xs[t], sums[r][t]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < kTokens; ++t) {
        float total = Simd::sum(sums[r][t]);
        for (int rest = k; rest < columns; ++rest)
          total += loadOne<type>(weights, static_cast<std::ptrdiff_t>(r) * columns + rest) *
                   x[static_cast<std::ptrdiff_t>(t) * columns + rest];
        y[t * stride + r] = total;
      }
    }
  }

  template <ScalarType type, int kRows>
  static void matmulRows(const void* weights, int columns, const float* x, int tokens, float* y,
                         std::ptrdiff_t stride) {
    int t = 0;
    for (; t + 4 <= tokens; t += 4)
      matmulTile<type, kRows, 4>(weights, columns, x + static_cast<std::ptrdiff_t>(t) * columns, y + t * stride,
                                 stride);
    for (; t + 2 <= tokens; t += 2)
      matmulTile<type, kRows, 2>(weights, columns, x + static_cast<std::ptrdiff_t>(t) * columns, y + t * stride,
                                 stride);
    for (; t < tokens; ++t)
      matmulTile<type, kRows, 1>(weights, columns, x + static_cast<std::ptrdiff_t>(t) * columns, y + t * stride,
                                 stride);
  }

  template <ScalarType type>
  static void matmulOf(const FloatMatrix& m, int rowBegin, int rowEnd, const float* x, int tokens, float* y,
                       std::ptrdiff_t stride) {
    const auto* bytes = static_cast<const std::uint8_t*>(m.data);
    const std::ptrdiff_t rowBytes = static_cast<std::ptrdiff_t>(m.columns) * (type == ScalarType::kF32 ? 4 : 2);
    int row = rowBegin;
    for (; row + 4 <= rowEnd; row += 4)
      matmulRows<type, 4>(bytes + row * rowBytes, m.columns, x, tokens, y + row, stride);
    for (; row < rowEnd; ++row)
      matmulRows<type, 1>(bytes + row * rowBytes, m.columns, x, tokens, y + row, stride);
  }

  static void floatMatmul(const FloatMatrix& m, int rowBegin, int rowEnd, const float* x, int tokens, float* y,
                          std::ptrdiff_t stride) {
    switch (m.type) {
    case ScalarType::kF32:
      return matmulOf<ScalarType::kF32>(m, rowBegin, rowEnd, x, tokens, y, stride);
    case ScalarType::kF16:
      return matmulOf<ScalarType::kF16>(m, rowBegin, rowEnd, x, tokens, y, stride);
    case ScalarType::kBf16:
      return matmulOf<ScalarType::kBf16>(m, rowBegin, rowEnd, x, tokens, y, stride);
    }
  }

  // --- elementwise --------------------------------------------------------------------------------------------

  /** eˣ with a relative error below 2e-7; arguments below −87 give 0 or nearly so, NaN stays. */
  static inline __attribute__((always_inline)) Vector exponential(Vector x) {
    x = Simd::min(Simd::set1(88.0f), Simd::max(Simd::set1(-87.3f), x));
    const Vector n = Simd::round(Simd::mul(x, Simd::set1(1.44269504088896341f)));
    // ln 2 in two parts, so that n · ln 2 loses nothing.
    Vector r = Simd::fma(n, Simd::set1(-0.693359375f), x);
    r = Simd::fma(n, Simd::set1(2.12194440e-4f), r);
    // Taylor polynomial around 0; |r| ≤ ln 2 / 2.
    Vector p = Simd::set1(1.0f / 5040);
    p = Simd::fma(p, r, Simd::set1(1.0f / 720));
    p = Simd::fma(p, r, Simd::set1(1.0f / 120));
    p = Simd::fma(p, r, Simd::set1(1.0f / 24));
    p = Simd::fma(p, r, Simd::set1(1.0f / 6));
    p = Simd::fma(p, r, Simd::set1(0.5f));
    p = Simd::fma(p, r, Simd::set1(1.0f));
    p = Simd::fma(p, r, Simd::set1(1.0f));
    return Simd::scaleByPowerOfTwo(p, n);
  }

  static void rmsNorm(const float* x, const float* weight, int count, float eps, float* y) {
    Vector squares = Simd::zero();
    int i = 0;
    for (; i + kWidth <= count; i += kWidth) {
      const Vector v = Simd::load(x + i);
      squares = Simd::fma(v, v, squares);
    }
    float total = Simd::sum(squares);
    for (; i < count; ++i)
      total += x[i] * x[i];
    // Squares that overflow would give a row of zeros: the difference, 0 for every number, makes it one of NaN.
    const float inverse = 1.0f / __builtin_sqrtf(total / static_cast<float>(count) + eps) + (total - total);
    const Vector factor = Simd::set1(inverse);
    for (i = 0; i + kWidth <= count; i += kWidth)
      Simd::store(y + i, Simd::mul(Simd::mul(Simd::load(x + i), factor), Simd::load(weight + i)));
    for (; i < count; ++i)
      y[i] = x[i] * inverse * weight[i];
  }

  static inline __attribute__((always_inline)) Vector silu(Vector gate, Vector up) {
    const Vector one = Simd::set1(1.0f);
    const Vector denominator = Simd::add(one, exponential(Simd::sub(Simd::zero(), gate)));
    return Simd::mul(Simd::div(gate, denominator), up);
  }

  static void siluMultiply(const float* gate, const float* up, int count, float* y) {
    int i = 0;
    for (; i + kWidth <= count; i += kWidth)
      Simd::store(y + i, silu(Simd::load(gate + i), Simd::load(up + i)));
    if (i == count)
      return;
    float g[kWidth] = {}, u[kWidth] = {}, out[kWidth];
    for (int rest = i; rest < count; ++rest) {
      g[rest - i] = gate[rest];
      u[rest - i] = up[rest];
    }
    Simd::store(out, silu(Simd::load(g), Simd::load(u)));
    for (int rest = i; rest < count; ++rest)
      y[rest] = out[rest - i];
  }

  // --- attention ----------------------------------------------------------------------------------------------

  /** Vectors of positions or dimensions that are worked on at once: enough sums to hide how long one takes. */
  static constexpr int kScoreBlocks = Simd::kAttendVectors > kParts ? Simd::kAttendVectors / kParts : 1;
  static constexpr int kValueParts = Simd::kAttendVectors > kParts ? Simd::kAttendVectors : kParts;

  template <CacheType type>
  static inline __attribute__((always_inline)) Vector loadCached(const void* data, std::ptrdiff_t index) {
    if constexpr (type == CacheType::kF32)
      return Simd::load(static_cast<const float*>(data) + index);
    else if constexpr (type == CacheType::kF16)
      return Simd::loadF16(static_cast<const std::uint16_t*>(data) + index);
    else
      return Simd::loadI8(static_cast<const std::int8_t*>(data) + index);
  }

  template <CacheType type>
  static inline __attribute__((always_inline)) const char* cachedAddress(const void* data, std::ptrdiff_t index) {
    return static_cast<const char*>(data) + index * kCachedBytes<type>;
  }

  template <CacheType type>
  static constexpr int kCachedBytes = type == CacheType::kF32   ? 4
                                      : type == CacheType::kF16 ? 2
                                                                : 1;
  static constexpr int kLineBytes = 64;

  /** `x[i] *= factors[i]` for the 16-number blocks that hold `count` numbers. */
  static inline __attribute__((always_inline)) void multiplyBlocks(float* x, const float* factors, int count) {
    for (int i = 0; i < count; i += kKeyBlock)
      for (int p = 0; p < kKeyBlock; p += kWidth)
        Simd::store(x + i + p, Simd::mul(Simd::load(x + i + p), Simd::load(factors + i + p)));
  }

  /**
   * Dot products of kQueries queries with kBlocks · 16 positions: `scores[q][0 … kBlocks · 16)`. Meanwhile as many
   * bytes at `ahead` are asked for: those that are read next (see `attendAs`).
   */
  template <CacheType type, int kQueries, int kBlocks>
  static inline __attribute__((always_inline)) void scoreBlocks(const void* keys, const void* ahead, int headDim,
                                                                const float* const* queries, float* scores) {
    constexpr int kDimsPerLine = kLineBytes / (kKeyBlock * kCachedBytes<type>);
    const std::ptrdiff_t blockSize = static_cast<std::ptrdiff_t>(headDim) * kKeyBlock;
    Vector sums[kQueries][kBlocks][kParts];
    for (int q = 0; q < kQueries; ++q)
      for (int b = 0; b < kBlocks; ++b)
        for (int p = 0; p < kParts; ++p)
          sums[q][b][p] = Simd::zero();
#pragma GCC unroll 2
    for (int d = 0; d < headDim; ++d) {
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 16
        for (int p = 0; p < kParts; ++p) {
          const std::ptrdiff_t at = b * blockSize + static_cast<std::ptrdiff_t>(d) * kKeyBlock + p * kWidth;
          if (p == 0 && d % kDimsPerLine == 0)
            __builtin_prefetch(cachedAddress<type>(ahead, at));
          const Vector k = loadCached<type>(keys, at);
#pragma GCC unroll 4
          for (int q = 0; q < kQueries; ++q)
            sums[q][b][p] = Simd::fma(k, Simd::set1(queries[q][d]), sums[q][b][p]);
        }
      }
    }
    for (int q = 0; q < kQueries; ++q)
      for (int b = 0; b < kBlocks; ++b)
        for (int p = 0; p < kParts; ++p)
          Simd::store(scores + static_cast<std::ptrdiff_t>(q) * kScoreColumns + b * kKeyBlock + p * kWidth,
                      sums[q][b][p]);
  }

  template <CacheType type, int kQueries>
  static void scoreRun(const char* keys, const char* ahead, int count, int headDim, const float* const* queries,
                       float* scores) {
    const std::ptrdiff_t blockBytes = static_cast<std::ptrdiff_t>(headDim) * kKeyBlock * kCachedBytes<type>;
    int position = 0;
    for (; position + (kScoreBlocks - 1) * kKeyBlock < count; position += kScoreBlocks * kKeyBlock) {
      const std::ptrdiff_t at = position / kKeyBlock * blockBytes;
      scoreBlocks<type, kQueries, kScoreBlocks>(keys + at, ahead + at, headDim, queries, scores + position);
    }
    for (; position < count; position += kKeyBlock) {
      const std::ptrdiff_t at = position / kKeyBlock * blockBytes;
      scoreBlocks<type, kQueries, 1>(keys + at, ahead + at, headDim, queries, scores + position);
    }
  }

  /** Adds to kVectors vectors of dimensions from `d` on; asks for as many bytes at `ahead` and moves it on. */
  template <CacheType type, int kQueries, int kVectors>
  static inline __attribute__((always_inline)) void addValueVectors(const void* values, int count, int headDim, int d,
                                                                    const float* probabilities, float* const* outputs,
                                                                    const char*& ahead) {
    constexpr int kStepBytes = kVectors * kWidth * kCachedBytes<type>;
    Vector sums[kQueries][kVectors];
    for (int q = 0; q < kQueries; ++q)
      for (int p = 0; p < kVectors; ++p)
        sums[q][p] = Simd::load(outputs[q] + d + p * kWidth);
    for (int position = 0; position < count; ++position, ahead += kStepBytes) {
      for (int line = 0; line < kStepBytes; line += kLineBytes)
        __builtin_prefetch(ahead + line);
      Vector weights[kQueries];
#pragma GCC unroll 4
      for (int q = 0; q < kQueries; ++q)
        weights[q] = Simd::set1(probabilities[static_cast<std::ptrdiff_t>(q) * kScoreColumns + position]);
#pragma GCC unroll 16
      for (int p = 0; p < kVectors; ++p) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(position) * headDim + d + p * kWidth;
        const Vector v = loadCached<type>(values, at);
#pragma GCC unroll 4
        for (int q = 0; q < kQueries; ++q)
          sums[q][p] = Simd::fma(v, weights[q], sums[q][p]);
      }
    }
    for (int q = 0; q < kQueries; ++q)
      for (int p = 0; p < kVectors; ++p)
        Simd::store(outputs[q] + d + p * kWidth, sums[q][p]);
  }

  /** `outputs[q][d] += Σ_position probabilities[q][position] · values[position][d]` */
  template <CacheType type, int kQueries>
  static void addValues(const void* values, int count, int headDim, const float* probabilities, float* const* outputs,
                        const char* ahead) {
    int d = 0;
    for (; d + kValueParts * kWidth <= headDim; d += kValueParts * kWidth)
      addValueVectors<type, kQueries, kValueParts>(values, count, headDim, d, probabilities, outputs, ahead);
    for (; d < headDim; d += kKeyBlock)
      addValueVectors<type, kQueries, kParts>(values, count, headDim, d, probabilities, outputs, ahead);
  }

  /** State of one query's softmax over the positions seen so far. */
  struct Softmax {
    float max;
    float sum;
  };

  /**
   * Turns `visible` scores into unnormalised probabilities and the rest up to `count` into 0, and rescales what the
   * query has gathered so far when its maximum rises.
   */
  static void foldScores(float* scores, int visible, int count, float scale, Softmax& state, float* output,
                         int headDim) {
    float max = state.max;
    int i = 0;
    if (visible >= kWidth) {
      Vector wide = Simd::load(scores);
      for (i = kWidth; i + kWidth <= visible; i += kWidth)
        wide = Simd::max(wide, Simd::load(scores + i));
      const float found = Simd::maxOf(wide) * scale;
      max = found > max ? found : max;
    }
    for (; i < visible; ++i)
      max = scores[i] * scale > max ? scores[i] * scale : max;

    if (state.sum > 0.0f && max > state.max) {
      float factors[kWidth];
      Simd::store(factors, exponential(Simd::set1(state.max - max)));
      state.sum *= factors[0];
      const Vector factor = Simd::set1(factors[0]);
      for (int d = 0; d < headDim; d += kWidth)
        Simd::store(output + d, Simd::mul(Simd::load(output + d), factor));
    }
    state.max = max;

    // Whole registers: the scores beyond `visible` are replaced first, so that they count nothing.
    const int padded = (count + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
    for (int rest = visible; rest < padded; ++rest)
      scores[rest] = -1e30f;
    const Vector shift = Simd::set1(-max), factor = Simd::set1(scale);
    Vector total = Simd::zero();
    for (i = 0; i < padded; i += kWidth) {
      const Vector score = Simd::fma(Simd::load(scores + i), factor, shift);
      const Vector p = exponential(score);
      Simd::store(scores + i, p);
      // 0 · score: −∞, which has no share in the sum, makes it NaN.
      total = Simd::fma(score, Simd::zero(), Simd::add(total, p));
    }
    for (int rest = visible; rest < padded; ++rest)
      scores[rest] = 0.0f;
    state.sum += Simd::sum(total);
  }

  template <CacheType type> static void attendAs(const AttentionTask& task) {
    Softmax states[kMaxQueries];
    for (int q = 0; q < task.queryCount; ++q) {
      states[q] = {-1e30f, 0.0f};
      for (int d = 0; d < task.headDim; ++d)
        task.outputs[q][d] = 0.0f;
    }
    int runStart = 0;
    for (int r = 0; r < task.runCount; runStart += task.runs[r].count, ++r) {
      const KeyValueRun& run = task.runs[r];
      const auto* keys = static_cast<const char*>(run.keys);
      const auto* values = static_cast<const char*>(run.values);
      for (int begin = 0; begin < task.runs[r].count; begin += kScoreColumns) {
        const int rest = task.runs[r].count - begin;
        const int count = rest < kScoreColumns ? rest : kScoreColumns;
        const char* blockKeys = keys + static_cast<std::ptrdiff_t>(begin) * task.headDim * kCachedBytes<type>;
        const char* blockValues = values + static_cast<std::ptrdiff_t>(begin) * task.headDim * kCachedBytes<type>;
        // Memory has to work all the time: while keys are scored, the values of the same positions are asked for, and
        // while those are added, the next keys. The last ones have none; what is there already is asked for again.
        const char* ahead = blockValues;
        if (begin + count < run.count)
          ahead = blockKeys + static_cast<std::ptrdiff_t>(count) * task.headDim * kCachedBytes<type>;
        else if (r + 1 < task.runCount)
          ahead = static_cast<const char*>(task.runs[r + 1].keys);
        for (int q = 0; q < task.queryCount;) {
          float* scores = task.scratch + static_cast<std::ptrdiff_t>(q) * kScoreColumns;
          const int step = task.queryCount - q >= 4 ? 4 : 1;
          if (step == 4)
            scoreRun<type, 4>(blockKeys, blockValues, count, task.headDim, task.queries + q, scores);
          else
            scoreRun<type, 1>(blockKeys, blockValues, count, task.headDim, task.queries + q, scores);
          for (int i = 0; i < step; ++i) {
            const int limit = task.limits[q + i] - runStart - begin;
            const int visible = limit < 0 ? 0 : limit < count ? limit : count;
            float* row = scores + static_cast<std::ptrdiff_t>(i) * kScoreColumns;
            if (visible > 0) {
              if constexpr (type == CacheType::kI8)
                multiplyBlocks(row, run.keyScales + begin, count);
              foldScores(row, visible, count, task.scale, states[q + i], task.outputs[q + i], task.headDim);
              if constexpr (type == CacheType::kI8)
                multiplyBlocks(row, run.valueScales + begin, count);
            } else {
              for (int position = 0; position < count; ++position)
                row[position] = 0.0f;
            }
          }
          if (step == 4)
            addValues<type, 4>(blockValues, count, task.headDim, scores, task.outputs + q, ahead);
          else
            addValues<type, 1>(blockValues, count, task.headDim, scores, task.outputs + q, ahead);
          q += step;
        }
      }
    }
    for (int q = 0; q < task.queryCount; ++q) {
      const Vector inverse = Simd::set1(1.0f / states[q].sum);
      for (int d = 0; d < task.headDim; d += kWidth)
        Simd::store(task.outputs[q] + d, Simd::mul(Simd::load(task.outputs[q] + d), inverse));
    }
  }

  static void attend(const AttentionTask& task) {
    switch (task.type) {
    case CacheType::kF32:
      return attendAs<CacheType::kF32>(task);
    case CacheType::kF16:
      return attendAs<CacheType::kF16>(task);
    case CacheType::kI8:
      return attendAs<CacheType::kI8>(task);
    }
  }
};

} // namespace scenebus::cpu
