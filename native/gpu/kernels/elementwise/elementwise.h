#pragma once
#include "gpu/kernels/shared/types.h"

/** Norms, activations, gates, rows of tables. All pointers are on the device; sums and products are f32. */
namespace scenebus::kernels {

/**
 * h = hidden + gate · rowGates[row] · update; y = h · rsqrt(mean(h²) + eps) · weight. Without `update` h is `hidden`.
 * Heads are normalised by taking each for a row: rows = R · heads, size = headDim.
 */
struct RmsNorm {
  /** `[rows, size]`, f16 or f32. */
  cuda::DevicePointer hidden = 0;
  ElementType hiddenType = ElementType::kF16;
  /** f16 `[rows, size]`, or 0. */
  cuda::DevicePointer update = 0;
  float gate = 1.0f;
  /** f32 `[rows]`, or 0 for ones. */
  cuda::DevicePointer rowGates = 0;
  /** Where h goes, of the type of `hidden`, which it may be; needed with `update`. */
  cuda::DevicePointer sum = 0;
  /** `[size]` */
  cuda::DevicePointer weight = 0;
  ElementType weightType = ElementType::kF16;
  /** f16 `[rows, size]`; may be `hidden` when that is f16 and there is no update. */
  cuda::DevicePointer y = 0;
  int rows = 0;
  int size = 0;
  float eps = 1e-5f;
};

void rmsNorm(cuda::Device&, cuda::Stream, const RmsNorm&);

/** y = silu(gate) · up, f16, `count` elements; y may be either input. */
void siluMul(cuda::Device&, cuda::Stream, cuda::DevicePointer gate, cuda::DevicePointer up, std::size_t count,
             cuda::DevicePointer y);

/** y = hidden + gate · rowGates[row] · update, `[rows, size]`; hidden and y of `type` (f16, f32), update f16. */
void gatedAdd(cuda::Device&, cuda::Stream, cuda::DevicePointer hidden, ElementType type, cuda::DevicePointer update,
              float gate, cuda::DevicePointer rowGates, int rows, int size, cuda::DevicePointer y);

/** y[r] = table[ids[r]], ids i32 `[count]`; rows of `size` elements; an id outside `[0, tableRows)` gives zeros. */
void gatherRows(cuda::Device&, cuda::Stream, cuda::DevicePointer table, ElementType tableType, int tableRows,
                cuda::DevicePointer ids, int count, int size, cuda::DevicePointer y, ElementType outputType);

/**
 * Normalised tiles of a resized image, bit-equal to `fillTiles` of native/image: `(f32(byte · rescale) − mean) / std`,
 * byte 0 beyond the image. image u8 `[height, width, 3]` → tiles `[rows · columns, 3, tileSize, tileSize]`, R, G, B.
 */
struct ImageTiles {
  cuda::DevicePointer image = 0;
  int width = 0;
  int height = 0;
  bool isBgr = false;
  int rows = 1;
  int columns = 1;
  int tileSize = 0;
  double rescaleFactor = 1.0 / 255;
  float mean[3] = {};
  float std[3] = {};
  cuda::DevicePointer tiles = 0;
  ElementType tileType = ElementType::kF32;
};

void imageTiles(cuda::Device&, cuda::Stream, const ImageTiles&);

} // namespace scenebus::kernels
