#pragma once
#include <cstddef>
#include <cstdint>

#define SCENEBUS_FORCE_INLINE __attribute__((always_inline)) inline

/**
 * Views of weights and activations as the kernels read them. Nothing here owns memory.
 * A linear layer is `y[row] = Σ_k w[row][k] · x[k]`: `rows` outputs, `columns` inputs.
 */
namespace scenebus::cpu {

/** Outputs that are interleaved in a packed matrix, and inputs that share an activation scale. */
constexpr int kGroupRows = 16;
constexpr int kBlockColumns = 32;
/** The scales of two groups of inputs, 16 rows each. */
constexpr int kScaleLineBytes = 64;
/** A block whose largest magnitude is not above this quantises to zeros. */
constexpr float kSmallestBlockMax = 1e-30f;

enum class ScalarType { kF32, kF16, kBf16 };

constexpr std::size_t scalarSizeBytes(ScalarType type) {
  return type == ScalarType::kF32 ? 4 : 2;
}

/** Weights as a checkpoint stores them: row-major `[rows, columns]`; the address may be unaligned. */
struct FloatMatrix {
  const void* data = nullptr;
  ScalarType type = ScalarType::kF32;
  int rows = 0;
  int columns = 0;
};

/**
 * Integer weights with one scale per row and group of inputs, interleaved so that a vector register holds the same
 * inputs of 16 rows, whatever its width.
 *
 * `data`: for each group of 16 rows, for each two groups of inputs: the scales of both, then the values of one and of
 * the other. Side by side, because memory gives less to two streams of each kind than to one of both. Of an odd number
 * of groups of inputs, the last one has the room of two scales to itself.
 * Scales: float16 `[2][16]`, in units of the row's `rowFactors` entry (a power of two, so that scales of any magnitude
 * keep their digits).
 * Values: for each block of 32 inputs, lines of 64 bytes; a line holds 4 inputs of each of the 16 rows: `[row][input]`.
 *   8 bits: 8 lines; line j holds inputs 4j … 4j+3 as signed bytes.                      512 bytes a block
 *   4 bits: 4 lines; line j holds inputs 4j … in the low nibbles and 16+4j … in the high
 *           nibbles, as value + 8.                                                       256 bytes a block
 * Rows beyond `rows` in the last group have scale 0.
 */
struct PackedMatrix {
  int bits = 4;
  int rows = 0;
  /** Multiple of `groupSize`. */
  int columns = 0;
  /** Inputs that share a scale; multiple of 32. */
  int groupSize = kBlockColumns;
  const std::uint8_t* data = nullptr;
  /** `[rows rounded up to 16]`. */
  const float* rowFactors = nullptr;

  // Forced inline, because files compiled for different instruction sets use them.
  SCENEBUS_FORCE_INLINE int rowGroups() const { return (rows + kGroupRows - 1) / kGroupRows; }
  SCENEBUS_FORCE_INLINE int blocks() const { return columns / kBlockColumns; }
  SCENEBUS_FORCE_INLINE std::size_t blockSizeBytes() const { return bits == 4 ? 256 : 512; }
  /** Groups of inputs of a row, which have a scale each. */
  SCENEBUS_FORCE_INLINE int scaleGroups() const { return columns / groupSize; }
  SCENEBUS_FORCE_INLINE std::size_t scaleGroupValueBytes() const {
    return groupSize / kBlockColumns * blockSizeBytes();
  }
  /** Of a group of 16 rows, and so from one to the next. */
  SCENEBUS_FORCE_INLINE std::size_t groupBytes() const {
    return (scaleGroups() + 1) / 2 * static_cast<std::size_t>(kScaleLineBytes) + scaleGroups() * scaleGroupValueBytes();
  }
  /** Where the scales and the values of a group of inputs lie among the bytes of a group of rows. */
  SCENEBUS_FORCE_INLINE std::size_t scalesOffset(int scaleGroup) const {
    return scaleGroup / 2 * (kScaleLineBytes + 2 * scaleGroupValueBytes()) + scaleGroup % 2 * (kScaleLineBytes / 2);
  }
  SCENEBUS_FORCE_INLINE std::size_t valuesOffset(int scaleGroup) const {
    return (scaleGroup / 2 + 1) * static_cast<std::size_t>(kScaleLineBytes) + scaleGroup * scaleGroupValueBytes();
  }
};

/** Tokens whose activations are interleaved: what a kernel multiplies one unpacked block of weights with. */
constexpr int kTileTokens = 8;

/**
 * Activations as signed bytes with one float scale for each block of 32. Tokens lie in tiles of 8, the last one with
 * the rest; within a tile of `w` tokens their blocks alternate, so that a kernel reaches all of them from one address:
 * `values` `[tile][block][w][32]`, `scales` and `biases` `[tile][block][w]`.
 */
struct QuantizedTokens {
  int tokens = 0;
  int columns = 0;
  /** −127 … 127 */
  const std::int8_t* values = nullptr;
  const float* scales = nullptr;
  /** −8 × the sum of the block's values, which undoes the + 8 of the weights. */
  const std::int32_t* biases = nullptr;

  /** Tokens of the tile that `token` lies in. */
  SCENEBUS_FORCE_INLINE int tileWidth(int token) const {
    const int rest = tokens - token / kTileTokens * kTileTokens;
    return rest < kTileTokens ? rest : kTileTokens;
  }
  /** Index of a token's first block in `scales` and `biases`; ·32 in `values`. Further blocks follow `tileWidth` apart.
   */
  SCENEBUS_FORCE_INLINE std::ptrdiff_t firstBlock(int token) const {
    return static_cast<std::ptrdiff_t>(token / kTileTokens * kTileTokens) * (columns / kBlockColumns) +
           token % kTileTokens;
  }
};

} // namespace scenebus::cpu
