#pragma once
#include "cpu/kernels/cpuFeatures.h"
#include "cpu/kernels/matrix.h"

#include <cstddef>
#include <cstdint>

namespace scenebus::cpu {

/** Cached positions that are interleaved in the key cache. */
constexpr int kKeyBlock = 16;
/** Queries that `attend` takes at once, and positions that it scores at once. */
constexpr int kMaxQueries = 32;
constexpr int kScoreColumns = 256;
/** Floats of scratch memory that `attend` needs. */
constexpr std::size_t kAttendScratch = static_cast<std::size_t>(kMaxQueries) * kScoreColumns;

/** Numbers in the K/V caches; kI8: signed bytes with a scale for each head and position, of keys and values apart. */
enum class CacheType { kF32, kF16, kI8 };

constexpr std::size_t cacheElementBytes(CacheType type) {
  return type == CacheType::kF32 ? 4 : type == CacheType::kF16 ? 2 : 1;
}

/**
 * Keys and values of one head for a run of positions.
 * `keys` `[ceil(count / 16)][headDim][16]`: 16 positions interleaved, so that scores need no sums across a register.
 * `values` `[count][headDim]`; `keyScales` and `valueScales` `[count]`, of kI8 only.
 */
struct KeyValueRun {
  const void* keys = nullptr;
  const void* values = nullptr;
  int count = 0;
  const float* keyScales = nullptr;
  const float* valueScales = nullptr;
};

/** Attention of some queries over the concatenation of `runs`; all belong to one key/value head. */
struct AttentionTask {
  const KeyValueRun* runs = nullptr;
  int runCount = 0;
  /** Of keys and values alike. */
  CacheType type = CacheType::kF16;
  /** Multiple of 16. */
  int headDim = 0;
  float scale = 1.0f;
  /** At most `kMaxQueries`; each `[headDim]`. */
  int queryCount = 0;
  const float* const* queries = nullptr;
  float* const* outputs = nullptr;
  /** For each query: it sees the first `limits[i]` positions of the concatenation, at least 1. */
  const int* limits = nullptr;
  /** `[kAttendScratch]` */
  float* scratch = nullptr;
};

/**
 * The inner loops, once for each instruction set. All sets compute the integer products and the quantisation with the
 * same operations in the same order, so that their results are equal bit for bit; float products, norms and attention
 * differ in the order of their sums.
 */
struct Kernels {
  InstructionSet set;

  /**
   * A token's activations `x[columns]` to bytes; `columns` is a multiple of 32. Block b goes to `values + b·stride·32`,
   * `scales[b·stride]` and `biases[b·stride]`. A block with an infinity or a NaN becomes zeros with the scale NaN.
   */
  void (*quantizeToken)(const float* x, int columns, int stride, std::int8_t* values, float* scales,
                        std::int32_t* biases);

  /** Groups of 16 rows `[groupBegin, groupEnd)` of a packed matrix times all tokens of `x`: `y[token·stride + row]`. */
  void (*packedMatmul)(const PackedMatrix& weights, int groupBegin, int groupEnd, const QuantizedTokens& x, float* y,
                       std::ptrdiff_t stride);

  /** Rows `[rowBegin, rowEnd)` times `tokens` activations `x[token·columns]`: `y[token·stride + row]`. */
  void (*floatMatmul)(const FloatMatrix& weights, int rowBegin, int rowEnd, const float* x, int tokens, float* y,
                      std::ptrdiff_t stride);

  /** `y = x · rsqrt(mean(x²) + eps) · weight`; `y` may be `x`. */
  void (*rmsNorm)(const float* x, const float* weight, int count, float eps, float* y);

  /** `y = silu(gate) · up`; `y` may be `gate`. */
  void (*siluMultiply)(const float* gate, const float* up, int count, float* y);

  void (*attend)(const AttentionTask& task);
};

/** The kernels of an available set (`availableInstructionSets`). */
const Kernels& kernelsFor(InstructionSet set);

// One for each kernels<Set>.cpp; only `kernelsFor` calls them.
const Kernels& scalarKernels();
const Kernels& avx2Kernels();
const Kernels& avx512Kernels();
const Kernels& neonKernels();

} // namespace scenebus::cpu
