#pragma once
#include <cstdint>

/** Parameters of the kernels in attention*.cu. */
namespace scenebus::kernels {

struct AttentionArguments {
  const std::uint16_t* q;
  /** New rows of self-attention; null for cross-attention. */
  const std::uint16_t* k;
  const std::uint16_t* v;
  std::uint16_t* keys;
  std::uint16_t* values;
  /** Self-attention only. */
  const int* pastLength;
  const float* cosines;
  const float* sines;
  /** Cross-attention only. */
  const float* bias;
  /** `[splits][kvHeads][rows · group][headDim]` sums, then `[…][2]` greatest score and sum of weights. */
  float* partial;
  std::uint16_t* attended;
  int rows;
  int heads;
  int kvHeads;
  int headDim;
  /** Positions of a cache, or keys of an image. */
  int capacity;
  int splits;
  /** 1 / √headDim · log2(e): weights are powers of two. */
  float scale;
};

constexpr int kAttentionThreads = 128;
/** Query vectors of a tensor-core tile, of a prefill block, and keys of a prefill stage. */
constexpr int kTileQueries = 16;
constexpr int kBlockQueries = 64;
constexpr int kStageKeys = 64;

constexpr unsigned decodeSharedBytes(int headDim) {
  return static_cast<unsigned>(kTileQueries * headDim * 2 + 4 * kTileQueries * (headDim + 2) * 4);
}
constexpr unsigned prefillSharedBytes(int headDim) {
  return static_cast<unsigned>(kBlockQueries * headDim * 2 + 2 * 2 * kStageKeys * headDim * 2);
}

} // namespace scenebus::kernels
