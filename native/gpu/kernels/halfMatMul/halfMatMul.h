#pragma once
#include "gpu/kernels/shared/types.h"

namespace scenebus::kernels {

/**
 * y `[rows, N]` = x `[rows, K]` · Wᵀ, all f16 but y, which is f16 or f32: for an lm_head that is not quantised. W
 * `[N, K]` is read once for every 8 rows, at the speed of memory. K is a multiple of 32, x and W are 16-byte aligned.
 */
void halfMatMul(cuda::Device&, cuda::Stream, cuda::DevicePointer x, int rows, cuda::DevicePointer weight, int outputs,
                int inputs, cuda::DevicePointer y, ElementType outputType);

} // namespace scenebus::kernels
