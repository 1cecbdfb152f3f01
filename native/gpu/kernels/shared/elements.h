#pragma once
#include "gpu/kernels/shared/gpu.h"

/** Elements by the number of their type (ElementType). Device code only. */
namespace scenebus::kernels {

using namespace gpu;

__device__ __forceinline__ float readElement(const void* data, std::size_t at, int type) {
  if (type == 2)
    return static_cast<const float*>(data)[at];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[at];
  return type == 1 ? floatFromBf16(bits) : floatFromHalf(bits);
}

__device__ __forceinline__ void writeElement(void* data, std::size_t at, int type, float value) {
  if (type == 2)
    static_cast<float*>(data)[at] = value;
  else
    static_cast<std::uint16_t*>(data)[at] = type == 1 ? bf16FromFloat(value) : halfFromFloat(value);
}

__device__ __forceinline__ float sumOfWarp(float value) {
  for (int mask = 16; mask > 0; mask /= 2)
    value += shuffleXor(value, mask);
  return value;
}

__device__ __forceinline__ float silu(float x) { return x / (1.0f + exp2Fast(-1.44269504f * x)); }

__device__ __forceinline__ void storeOutput(void* y, std::size_t at, float value, int isF32) {
  if (isF32 != 0)
    static_cast<float*>(y)[at] = value;
  else
    static_cast<std::uint16_t*>(y)[at] = halfFromFloat(value);
}

} // namespace scenebus::kernels
