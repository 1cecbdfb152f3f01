#pragma once
#include "gpu/kernels/shared/types.h"

/**
 * y `[rows, N]` = x `[rows, K]` · Wᵀ, W `[N, K]` in int4 as it lies on disk (compressed-tensors `pack-quantized`):
 * `packed` `[N, K / 2]` bytes, the lower nibble is the lower k, value + 8; `scales` `[N, K / groupSize]`, f16 or bf16.
 * x is f16 with rows one after the other, 16-byte aligned; y is f16 or f32. Sums are f32, the scale is applied to the sum
 * of each group.
 *
 * Fast where the group size is a multiple of 32, best of 128 (one group for a row: groupSize = K), and pointers are
 * 16-byte aligned; any other even group size takes a plain path. Up to 8 rows the weights stream past the cache (bound by memory);
 * above, tiles of 128 outputs on the tensor cores.
 */
namespace scenebus::kernels {

struct Int4Weight {
  cuda::DevicePointer packed = 0;
  cuda::DevicePointer scales = 0;
  /** N */
  int outputs = 0;
  /** K */
  int inputs = 0;
  int groupSize = 128;
  ElementType scaleType = ElementType::kF16;
};

/** Most rows of the path that is bound by memory. */
constexpr int kInt4GemvRows = 8;

void int4MatMul(cuda::Device&, cuda::Stream, cuda::DevicePointer x, int rows, const Int4Weight& weight,
                cuda::DevicePointer y, ElementType outputType = ElementType::kF16);

struct Int4Product {
  Int4Weight weight;
  cuda::DevicePointer y = 0;
};

/** Up to three products of one x; up to 8 rows in one launch when group size and scale type are equal. */
void int4MatMuls(cuda::Device&, cuda::Stream, cuda::DevicePointer x, int rows, const Int4Product* products, int count,
                 ElementType outputType = ElementType::kF16);

/**
 * y = silu(x · gateᵀ) · (x · upᵀ), f16. Up to 8 rows in one launch when group size and scale type
 * are equal; else `scratch` takes 2 · rows · N halves.
 */
void int4GateUp(cuda::Device&, cuda::Stream, cuda::DevicePointer x, int rows, const Int4Weight& gate,
                const Int4Weight& up, cuda::DevicePointer y, cuda::DevicePointer scratch);

} // namespace scenebus::kernels
