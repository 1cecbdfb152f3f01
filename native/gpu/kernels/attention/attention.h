#pragma once
#include "gpu/kernels/shared/types.h"

/**
 * Attention with grouped query heads: query head h reads key/value head h / (heads / kvHeads). f16 in and out, scores and
 * sums f32, scale 1 / √headDim. Head sizes 64 and 128 run on the tensor cores, up to 8 rows split over the keys; any other
 * size up to 256 takes a plain path. Pointers are 16-byte aligned.
 */
namespace scenebus::kernels {

struct HeadShape {
  int heads = 0;
  int kvHeads = 0;
  int headDim = 0;
};

/** Most rows that are split over the keys instead of tiled. */
constexpr int kDecodeRows = 8;

/** Bytes that `workspace` needs for up to `rows` rows, for both kinds of attention. */
std::size_t attentionWorkspaceBytes(const cuda::DeviceInfo&, const HeadShape&, int rows);

/**
 * Causal self-attention with rotary positions, which also stores the new keys (rotated) and values in the caches. The
 * position of row r is `pastLength` + r; `pastLength` is read on the device, so that one captured graph serves all steps.
 * pastLength + rows ≤ capacity is the caller's to keep; rows beyond are neither stored nor read.
 */
struct KvAttention {
  HeadShape shape;
  int rows = 0;
  int capacity = 0;
  /** `[rows, heads, headDim]`, not rotated. */
  cuda::DevicePointer q = 0;
  /** `[rows, kvHeads, headDim]`, k not rotated. */
  cuda::DevicePointer k = 0;
  cuda::DevicePointer v = 0;
  /** `[kvHeads, capacity, headDim]`, updated in place. */
  cuda::DevicePointer keyCache = 0;
  cuda::DevicePointer valueCache = 0;
  /** i32 `[1]` */
  cuda::DevicePointer pastLength = 0;
  /** f32 `[capacity, headDim / 2]`; pairs are (i, i + headDim / 2). */
  cuda::DevicePointer cosines = 0;
  cuda::DevicePointer sines = 0;
  cuda::DevicePointer workspace = 0;
  /** `[rows, heads · headDim]` */
  cuda::DevicePointer attended = 0;
};

void kvAttention(cuda::Device&, cuda::Stream, const KvAttention&);

/**
 * Attention to the keys of images. `bias` f32 `[rows, keys]` is added to the scores; a key whose bias is below −10³⁰ is not
 * seen, and keys that no row sees are not read, 16 at a time. A row that sees no key gets zeros.
 */
struct CrossAttention {
  HeadShape shape;
  int rows = 0;
  int keys = 0;
  /** `[rows, heads, headDim]`, normalised. */
  cuda::DevicePointer q = 0;
  /** `[kvHeads, keys, headDim]` */
  cuda::DevicePointer key = 0;
  cuda::DevicePointer value = 0;
  cuda::DevicePointer bias = 0;
  cuda::DevicePointer workspace = 0;
  /** `[rows, heads · headDim]` */
  cuda::DevicePointer attended = 0;
};

void crossAttention(cuda::Device&, cuda::Stream, const CrossAttention&);

} // namespace scenebus::kernels
