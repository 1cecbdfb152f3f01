#include "gpu/kernels/int4MatMul/int4Arguments.h"
#include "gpu/kernels/int4MatMul/int4Device.h"

/**
 * int4 product for 1 to 8 rows. The tensor cores take 16 outputs × 16 k of weights as the left operand and 8 rows of x as
 * the right one: unpacking costs 1.1 instructions a weight for any number of rows, where multiply-adds in f32 would cost 2
 * and one more for every row (sm_87 has 6.5 instructions a weight at full memory speed).
 *
 * Which k the operand's columns stand for is free as long as both sides agree. So a lane takes 16 consecutive bytes of an
 * output, its quad the 128 k of a group, straight from the layout on disk, and the scale meets the sum of a group once.
 * The warps of a block share 16 (or 2 × 16) outputs and split k; the last step adds their sums in shared memory.
 */
namespace scenebus::kernels {
namespace {

/** Tiles of 16 outputs that a warp works on at once, and groups whose weights are under way: 128 bytes a lane. */
template <int kTiles> constexpr int kDepth = 4 / kTiles;

/** With `kPair` the two tiles are the same outputs of two matrices, and y = silu(first) · second. */
template <int kWords, int kTiles, bool kPair> __device__ __forceinline__ void int4Gemv(const Int4GemvArguments& a) {
  constexpr int depth = kDepth<kTiles>;
  SCENEBUS_SHARED(sharedMemory);
  auto* sums = reinterpret_cast<float*>(sharedMemory); // [warps][kTiles · 16][8]
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int g = lane / 4, t = lane % 4;

  int block = static_cast<int>(blockIdx.x);
  Int4Target target = a.targets[0];
  if (!kPair && a.targetCount > 1 && block >= a.targets[1].firstBlock)
    target = a.targets[1];
  if (!kPair && a.targetCount > 2 && block >= a.targets[2].firstBlock)
    target = a.targets[2];
  block -= target.firstBlock;
  const int firstOutput = block * (kPair ? 16 : 16 * kTiles);

  // Outputs beyond the last one repeat it, so that every load is inside the matrix; their sums are not stored.
  const int groups = a.inputs / a.groupSize;
  const int chunks = a.inputs / (32 * kWords);
  const int chunksOfGroup = a.groupSize / (32 * kWords);
  const std::uint8_t* weights[kTiles][2];
  const std::uint16_t* scales[kTiles][2];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const std::uint8_t* packed = kPair && tile == 1 ? a.targets[1].packed : target.packed;
    const std::uint16_t* ofGroups = kPair && tile == 1 ? a.targets[1].scales : target.scales;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int output = firstOutput + (kPair ? 0 : 16 * tile) + 8 * half + g;
      output = output < target.outputs ? output : target.outputs - 1;
      weights[tile][half] = packed + static_cast<std::size_t>(output) * (a.inputs / 2) + t * 4 * kWords;
      scales[tile][half] = ofGroups + static_cast<std::size_t>(output) * groups;
    }
  }
  const std::uint16_t* x = a.x + static_cast<std::size_t>(g) * a.inputs + t * 8 * kWords;

  WeightWords<kWords> words[depth][kTiles][2];
  std::uint16_t laneScales[kTiles][2];
  const auto loadChunk = [&](int slot, int chunk) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (chunk < chunks)
          words[slot][tile][half] = loadWeights<kWords>(weights[tile][half] + static_cast<std::size_t>(chunk) * 16 * kWords);
  };
  // Lane t of a quad holds the scales of chunk `first + t`, as bits: to turn them into floats would wait for them.
  const auto loadScales = [&](int first) {
    const int chunk = first + t;
    const bool there = t < depth && chunk < chunks;
    const int group = chunksOfGroup == 1 ? chunk : chunk / chunksOfGroup;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        laneScales[tile][half] = 0;
        if (there)
          laneScales[tile][half] = scales[tile][half][group];
      }
  };

  int first = warp * depth;
#pragma unroll
  for (int slot = 0; slot < depth; ++slot) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < kWords; ++i)
          words[slot][tile][half].word[i] = 0;
    loadChunk(slot, first + slot);
  }
  loadScales(first);

  float total[kTiles][4] = {};
  for (; first < chunks; first += warps * depth) {
    float ofChunk[kTiles][2];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        ofChunk[tile][half] = scaleFromBits(laneScales[tile][half], a.scalesAreBf16);
    const int next = first + warps * depth;
    loadScales(next);
#pragma unroll
    for (int slot = 0; slot < depth; ++slot) {
      const int chunk = first + slot;
      WeightWords<kWords> current[kTiles][2];
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          current[tile][half] = words[slot][tile][half];
      loadChunk(slot, next + slot); // as early as there is room for it
      // Zero for rows and chunks that are not there: what the weights hold then does not count.
      const bool there = g < a.rows && chunk < chunks;
      U32x4 activations[kWords];
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        activations[i] = U32x4{0, 0, 0, 0};
        if (there)
          activations[i] = loadReadOnly16(x + static_cast<std::size_t>(chunk) * 32 * kWords + 8 * i);
      }
      float part[kTiles][4] = {};
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        std::uint32_t right[4];
        pairActivations(activations[i], right);
        const std::uint32_t right0[2] = {right[0], right[1]}, right1[2] = {right[2], right[3]};
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          std::uint32_t low[4], high[4];
          unpackWeights(current[tile][0].word[i], low);
          unpackWeights(current[tile][1].word[i], high);
          const std::uint32_t left0[4] = {low[0], high[0], low[1], high[1]};
          const std::uint32_t left1[4] = {low[2], high[2], low[3], high[3]};
          multiplyTile(part[tile], left0, right0);
          multiplyTile(part[tile], left1, right1);
        }
      }
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const float low = shuffle(ofChunk[tile][0], lane / 4 * 4 + slot);
        const float high = shuffle(ofChunk[tile][1], lane / 4 * 4 + slot);
        total[tile][0] += low * part[tile][0];
        total[tile][1] += low * part[tile][1];
        total[tile][2] += high * part[tile][2];
        total[tile][3] += high * part[tile][3];
      }
    }
  }

  // This lane has outputs g and g + 8 of each tile for the rows 2t and 2t + 1.
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    float* to = sums + ((warp * kTiles + tile) * 16 + g) * 8 + 2 * t;
    to[0] = total[tile][0];
    to[1] = total[tile][1];
    to[64] = total[tile][2];
    to[65] = total[tile][3];
  }
  __syncthreads();
  constexpr int tileOutputs = 16 * kTiles;
  constexpr int stored = kPair ? 16 : tileOutputs;
  for (int i = static_cast<int>(threadIdx.x); i < stored * a.rows; i += static_cast<int>(blockDim.x)) {
    const int row = i / stored, output = i % stored;
    float value = 0, second = 0;
    for (int w = 0; w < warps; ++w) {
      value += sums[(w * tileOutputs + output) * 8 + row];
      if (kPair)
        second += sums[(w * tileOutputs + 16 + output) * 8 + row];
    }
    if (kPair)
      value = silu(value) * second;
    if (firstOutput + output < target.outputs)
      storeOutput(target.y, static_cast<std::size_t>(row) * target.outputs + firstOutput + output, value, a.outputIsF32);
  }
}

} // namespace

// Names: kernel, k of a chunk, tiles. 128 registers a lane let two blocks share an SM.
SCENEBUS_KERNEL(int4Gemv128x1, 256, 2, (const Int4GemvArguments a)) { int4Gemv<4, 1, false>(a); }
SCENEBUS_KERNEL(int4Gemv128x2, 256, 2, (const Int4GemvArguments a)) { int4Gemv<4, 2, false>(a); }
SCENEBUS_KERNEL(int4Gemv64x1, 256, 2, (const Int4GemvArguments a)) { int4Gemv<2, 1, false>(a); }
SCENEBUS_KERNEL(int4Gemv64x2, 256, 2, (const Int4GemvArguments a)) { int4Gemv<2, 2, false>(a); }
SCENEBUS_KERNEL(int4Gemv32x1, 256, 2, (const Int4GemvArguments a)) { int4Gemv<1, 1, false>(a); }
SCENEBUS_KERNEL(int4Gemv32x2, 256, 2, (const Int4GemvArguments a)) { int4Gemv<1, 2, false>(a); }
SCENEBUS_KERNEL(int4GateUp128, 256, 2, (const Int4GemvArguments a)) { int4Gemv<4, 2, true>(a); }
SCENEBUS_KERNEL(int4GateUp64, 256, 2, (const Int4GemvArguments a)) { int4Gemv<2, 2, true>(a); }
SCENEBUS_KERNEL(int4GateUp32, 256, 2, (const Int4GemvArguments a)) { int4Gemv<1, 2, true>(a); }

/** Any even group size, any alignment of bytes: a warp for each output and row. */
SCENEBUS_KERNEL(int4Plain, 256, 1, (const Int4GemmArguments a)) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int output = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  const int row = static_cast<int>(blockIdx.y);
  const int last = output < a.outputs ? output : a.outputs - 1; // the whole warp stays for the sum
  const std::uint8_t* packed = a.packed + static_cast<std::size_t>(last) * (a.inputs / 2);
  const std::uint16_t* x = a.x + static_cast<std::size_t>(row) * a.inputs;
  float sum = 0;
  for (int pair = lane; pair < a.inputs / 2; pair += 32) {
    const int byte = packed[pair];
    const std::size_t group = static_cast<std::size_t>(last) * (a.inputs / a.groupSize) + 2 * pair / a.groupSize;
    const float scale = scaleFromBits(a.scales[group], a.scalesAreBf16);
    sum += scale * (static_cast<float>((byte & 15) - 8) * floatFromHalf(x[2 * pair]) +
                    static_cast<float>((byte >> 4) - 8) * floatFromHalf(x[2 * pair + 1]));
  }
  for (int mask = 16; mask > 0; mask /= 2)
    sum += shuffleXor(sum, mask);
  if (lane == 0 && output < a.outputs)
    storeOutput(a.y, static_cast<std::size_t>(row) * a.outputs + output, sum, a.outputIsF32);
}

} // namespace scenebus::kernels
