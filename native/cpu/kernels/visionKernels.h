#pragma once
#include "cpu/kernels/cpuFeatures.h"
#include "cpu/kernels/matrix.h"

#include <cstddef>
#include <cstdint>

/**
 * Kernels of the vision tower: thousands of tokens at once, so that arithmetic counts and not memory. Integers are
 * summed over whole rows, which takes weights with one scale for each output (`groupSize` = `columns`, 8 bits) and
 * activations with one for each token.
 */
namespace scenebus::cpu {

/** Inputs of whole tokens as bytes: `values` `[tokens][columns]`, each as value + `inputOffset` of the kernels. */
struct ByteTokens {
  int columns = 0;
  const std::uint8_t* values = nullptr;
  /** `[tokens]`; NaN where a token held an infinity or a NaN. */
  const float* scales = nullptr;
};

/** Keys that are scored at once; their probabilities and values are multiplied in 16 bits and summed in 32. */
constexpr int kVisionKeyBlock = 256;
/** Queries that are scored at once. */
constexpr int kVisionQueries = 12;
/** Largest probability and largest value as integers: 256 products of both fit into 32 bits. */
constexpr int kProbabilityLevels = 8191, kValueLevels = 1023;

/** Keys and values of one head as `VisionKernels::attend` reads them. Sizes are rounded up with zeros. */
struct VisionKeys {
  /** Multiple of 16. */
  int headDim = 0;
  /** `[keys / 16][headDim / 4]` lines of 64 bytes: 4 dimensions of 16 keys, signed, up to `weightLevels`. */
  const std::uint8_t* keys = nullptr;
  /** `[keys]`, and log2 of how many tokens each stands for. */
  const float* keyScales = nullptr;
  const float* keyBiases = nullptr;
  /** `[keys / 256][headDim / 16][128]` lines: 16 dimensions of 2 keys, 16 bits, up to `kValueLevels`. */
  const std::uint8_t* values = nullptr;
  /** `[headDim]` */
  const float* valueScales = nullptr;
};

/** Attention of some queries of one head to the first `keyCount` keys, which is at least 1. */
struct VisionAttention {
  VisionKeys keys;
  int keyCount = 0;
  int queryCount = 0;
  /** Columns: `headDim`. Scales contain that of the scores, and log2 e. */
  ByteTokens queries;
  /** `[query·stride + dimension]`, the first `outputDim` dimensions. */
  float* outputs = nullptr;
  std::ptrdiff_t stride = 0;
  int outputDim = 0;
  /** `[visionScratchFloats(headDim)]` */
  float* scratch = nullptr;
};

/** Scores, probabilities in 16 bits and sums of a tile of queries. */
constexpr std::size_t visionScratchFloats(int headDim) {
  return static_cast<std::size_t>(kVisionQueries) * (kVisionKeyBlock + kVisionKeyBlock / 2 + headDim);
}

/**
 * Once for each instruction set. Integer products and quantisation are equal on all of them, bit for bit; what comes
 * after them in floats differs in the last bits.
 */
struct VisionKernels {
  InstructionSet set;
  /**
   * Largest magnitude of weights and keys: 127, or 63 where two products with an unsigned byte are summed in 16 bits
   * (`vpmaddubsw` of AVX2), which must not overflow.
   */
  int weightLevels;
  /** Added to inputs: 128 where the product instruction takes unsigned ones. */
  int inputOffset;

  /** A token to bytes −levels … levels, plus `offset`. With an infinity or a NaN: zeros and the scale NaN. */
  void (*quantizeRow)(const float* x, int columns, int levels, int offset, std::uint8_t* values, float* scale);

  /**
   * `y[token·stride + row] = Σ weights · inputs + bias[row]` for groups of 16 rows and a range of tokens.
   * @param bias `[rows]` or nullptr
   */
  void (*matmul)(const PackedMatrix& weights, const float* bias, int groupBegin, int groupEnd, const ByteTokens& x,
                 int tokenBegin, int tokenEnd, float* y, std::ptrdiff_t stride);

  /** `y = (x − mean) · rsqrt(variance + eps) · weight + bias`; `y` may be `x`. */
  void (*layerNorm)(const float* x, const float* weight, const float* bias, int count, float eps, float* y);

  /** x · Φ(x), by erf (error below 2e-7). */
  void (*gelu)(float* x, int count);

  void (*attend)(const VisionAttention& task);
};

/** The kernels of an available set (`availableInstructionSets`). */
const VisionKernels& visionKernelsFor(InstructionSet set);

// One for each vision<Set>.cpp; only `visionKernelsFor` calls them.
const VisionKernels& scalarVisionKernels();
const VisionKernels& avx2VisionKernels();
const VisionKernels& avx512VisionKernels();
const VisionKernels& neonVisionKernels();

} // namespace scenebus::cpu
