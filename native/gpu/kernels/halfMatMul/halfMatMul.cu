#include "gpu/kernels/shared/elements.h"

/**
 * As int4Gemv.cu, with weights that are halves already: 16 bytes of a lane are 8 k of one output, the quad has 32. The
 * warps of a block share 16 outputs and split k.
 */
namespace scenebus::kernels {

constexpr int kHalfDepth = 4; // chunks of 32 k under way: 2 × 64 bytes a lane

SCENEBUS_KERNEL(halfGemv, 256, 2,
                (const std::uint16_t* x, int rows, const std::uint16_t* weight, int outputs, int inputs, void* y,
                 int outputIsF32)) {
  SCENEBUS_SHARED(sharedMemory);
  auto* sums = reinterpret_cast<float*>(sharedMemory); // [warps][16][8]
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32, g = lane / 4, t = lane % 4;
  const int firstOutput = static_cast<int>(blockIdx.x) * 16, chunks = inputs / 32;
  const std::uint16_t* halves[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    int output = firstOutput + 8 * half + g;
    output = output < outputs ? output : outputs - 1;
    halves[half] = weight + static_cast<std::size_t>(output) * inputs + 8 * t;
  }
  const std::uint16_t* ownX = x + static_cast<std::size_t>(g) * inputs + 8 * t;
  U32x4 words[kHalfDepth][2];
  const auto loadChunk = [&](int slot, int chunk) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      words[slot][half] = U32x4{0, 0, 0, 0};
      if (chunk < chunks)
        words[slot][half] = loadStream16(halves[half] + static_cast<std::size_t>(chunk) * 32);
    }
  };
  int first = warp * kHalfDepth;
#pragma unroll
  for (int slot = 0; slot < kHalfDepth; ++slot)
    loadChunk(slot, first + slot);
  float total[4] = {};
  for (; first < chunks; first += warps * kHalfDepth) {
#pragma unroll
    for (int slot = 0; slot < kHalfDepth; ++slot) {
      const U32x4 low = words[slot][0], high = words[slot][1];
      loadChunk(slot, first + warps * kHalfDepth + slot);
      U32x4 activations{0, 0, 0, 0};
      if (g < rows && first + slot < chunks)
        activations = loadReadOnly16(ownX + static_cast<std::size_t>(first + slot) * 32);
      const std::uint32_t left0[4] = {low.x, high.x, low.y, high.y}, left1[4] = {low.z, high.z, low.w, high.w};
      const std::uint32_t right0[2] = {activations.x, activations.y}, right1[2] = {activations.z, activations.w};
      multiplyTile(total, left0, right0);
      multiplyTile(total, left1, right1);
    }
  }
  float* to = sums + (warp * 16 + g) * 8 + 2 * t;
  to[0] = total[0];
  to[1] = total[1];
  to[64] = total[2];
  to[65] = total[3];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 16 * rows; i += static_cast<int>(blockDim.x)) {
    const int row = i / 16, output = i % 16;
    float value = 0;
    for (int w = 0; w < warps; ++w)
      value += sums[(w * 16 + output) * 8 + row];
    if (firstOutput + output < outputs)
      storeOutput(y, static_cast<std::size_t>(row) * outputs + firstOutput + output, value, outputIsF32);
  }
}

} // namespace scenebus::kernels
