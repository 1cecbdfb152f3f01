#include "gpu/kernels/int4MatMul/int4Arguments.h"
#include "gpu/kernels/int4MatMul/int4Device.h"

/**
 * int4 product for many rows. A block computes 32 · kWarpsM rows × 128 outputs, a warp 32 × (16 · kWarpsM). Each step
 * takes one chunk of k (32 · kWords, one group or a part of it) of x and of the packed weights to shared memory by
 * asynchronous copies, two stages in turn. Weights are unpacked between shared memory and the tensor cores, with the same
 * free order of k as in int4Gemv.cu; the scale meets the sum of a chunk.
 *
 * Shared memory: x `[rows][4 · kWords]` pieces of 16 bytes; the lanes of a quad read pieces kWords · t + j at once, so
 * those lie side by side (place t + 4j), and odd rows have the halves of 128 bytes exchanged: eight lanes of a phase touch
 * all 32 banks. Weights `[128][16 · kWords]` bytes as on disk: a quad reads 64 consecutive bytes.
 */
namespace scenebus::kernels {
namespace {

template <int kWords> __device__ __forceinline__ int exchanged(int row) { return kWords > 1 ? (row & 1) << 2 : 0; }

template <int kWords, int kWarpsM> __device__ __forceinline__ void int4Gemm(const Int4GemmArguments& a) {
  constexpr int tileRows = 32 * kWarpsM;
  constexpr int warpsN = 8 / kWarpsM;
  constexpr int warpOutputs = kGemmTileOutputs / warpsN;
  constexpr int columns = warpOutputs / 8;
  constexpr int pieces = 4 * kWords;
  constexpr int xBytes = tileRows * pieces * 16;
  constexpr int weightBytes = kGemmTileOutputs * 16 * kWords;
  SCENEBUS_SHARED(sharedMemory);
  unsigned char* const xStage = sharedMemory;
  unsigned char* const weightStage = sharedMemory + 2 * xBytes;
  auto* const scaleStage = reinterpret_cast<float*>(sharedMemory + 2 * (xBytes + weightBytes));

  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int warpRow = warp % kWarpsM * 32, warpOutput = warp / kWarpsM * warpOutputs;
  const int firstRow = static_cast<int>(blockIdx.x) * tileRows;
  const int firstOutput = static_cast<int>(blockIdx.y) * kGemmTileOutputs;
  const int chunks = a.inputs / (32 * kWords);
  const int groups = a.inputs / a.groupSize;
  const int chunksOfGroup = a.groupSize / (32 * kWords);

  const auto copyStage = [&](int chunk) {
    unsigned char* const x = xStage + (chunk & 1) * xBytes;
    for (int i = thread; i < tileRows * pieces; i += kGemmThreads) {
      const int row = i / pieces, place = i % pieces ^ exchanged<kWords>(row);
      const int piece = kWords * (place & 3) + (place >> 2);
      const bool there = firstRow + row < a.rows;
      const std::size_t from = there ? static_cast<std::size_t>(firstRow + row) * a.inputs + chunk * 32 * kWords + 8 * piece : 0;
      copyAsync16(x + i * 16, a.x + from, there);
    }
    unsigned char* const weights = weightStage + (chunk & 1) * weightBytes;
    for (int i = thread; i < kGemmTileOutputs * kWords; i += kGemmThreads) {
      const int output = firstOutput + i / kWords;
      const bool there = output < a.outputs;
      const std::size_t from =
          there ? static_cast<std::size_t>(output) * (a.inputs / 2) + chunk * 16 * kWords + i % kWords * 16 : 0;
      copyAsync16(weights + i * 16, a.packed + from, there);
    }
    commitCopies();
  };
  // As bits: to turn them into a float would wait for them.
  const auto scaleOf = [&](int chunk) -> std::uint16_t {
    const int output = firstOutput + thread;
    if (thread >= kGemmTileOutputs || output >= a.outputs || chunk >= chunks)
      return 0;
    return a.scales[static_cast<std::size_t>(output) * groups + (chunksOfGroup == 1 ? chunk : chunk / chunksOfGroup)];
  };

  float total[2][columns][4] = {};
  copyStage(0);
  if (thread < kGemmTileOutputs)
    scaleStage[thread] = scaleFromBits(scaleOf(0), a.scalesAreBf16);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    if (chunk + 1 < chunks)
      copyStage(chunk + 1);
    else
      commitCopies(); // an empty group keeps the count
    const std::uint16_t nextScale = scaleOf(chunk + 1);
    waitForCopies<1>();
    __syncthreads(); // the stage has arrived for all threads

    const unsigned char* const x = xStage + (chunk & 1) * xBytes;
    const unsigned char* const weights = weightStage + (chunk & 1) * weightBytes;
    const float* const scales = scaleStage + (chunk & 1) * kGemmTileOutputs;
    std::uint32_t left[2][kWords][2][4];
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
      for (int j = 0; j < kWords; ++j) {
        std::uint32_t low[4], high[4];
        const int row = warpRow + tile * 16 + g; // row + 8 is odd when row is
        const int place = (t + 4 * j) ^ exchanged<kWords>(row);
        pairActivations(load16(x + (row * pieces + place) * 16), low);
        pairActivations(load16(x + ((row + 8) * pieces + place) * 16), high);
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          left[tile][j][step][0] = low[2 * step];
          left[tile][j][step][1] = high[2 * step];
          left[tile][j][step][2] = low[2 * step + 1];
          left[tile][j][step][3] = high[2 * step + 1];
        }
      }
#pragma unroll
    for (int column = 0; column < columns; ++column) {
      const int output = warpOutput + column * 8;
      std::uint32_t words[4] = {};
      const unsigned char* const from = weights + (output + g) * 16 * kWords + t * 4 * kWords;
      if constexpr (kWords == 4) {
        const U32x4 v = load16(from);
        words[0] = v.x;
        words[1] = v.y;
        words[2] = v.z;
        words[3] = v.w;
      } else {
#pragma unroll
        for (int j = 0; j < kWords; ++j)
          words[j] = reinterpret_cast<const std::uint32_t*>(from)[j];
      }
      float part[2][4] = {};
#pragma unroll
      for (int j = 0; j < kWords; ++j) {
        std::uint32_t pairs[4];
        unpackWeights(words[j], pairs);
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          const std::uint32_t right[2] = {pairs[2 * step], pairs[2 * step + 1]};
          multiplyTile(part[0], left[0][j][step], right);
          multiplyTile(part[1], left[1][j][step], right);
        }
      }
      const float scale0 = scales[output + 2 * t], scale1 = scales[output + 2 * t + 1];
#pragma unroll
      for (int tile = 0; tile < 2; ++tile)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          total[tile][column][i] += (i % 2 == 0 ? scale0 : scale1) * part[tile][i];
    }
    if (thread < kGemmTileOutputs)
      scaleStage[((chunk + 1) & 1) * kGemmTileOutputs + thread] =
          scaleFromBits(nextScale, a.scalesAreBf16);
    __syncthreads(); // before this stage is overwritten, and the next scales are read
  }
  waitForCopies<0>();

#pragma unroll
  for (int tile = 0; tile < 2; ++tile)
#pragma unroll
    for (int column = 0; column < columns; ++column)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = firstRow + warpRow + tile * 16 + g + i / 2 * 8;
        const int output = firstOutput + warpOutput + column * 8 + 2 * t + i % 2;
        if (row < a.rows && output < a.outputs)
          storeOutput(a.y, static_cast<std::size_t>(row) * a.outputs + output, total[tile][column][i], a.outputIsF32);
      }
}

} // namespace

// Names: kernel, k of a chunk, rows of a tile.
SCENEBUS_KERNEL(int4Gemm128x32, 256, 1, (const Int4GemmArguments a)) { int4Gemm<4, 1>(a); }
SCENEBUS_KERNEL(int4Gemm128x128, 256, 1, (const Int4GemmArguments a)) { int4Gemm<4, 4>(a); }
SCENEBUS_KERNEL(int4Gemm64x32, 256, 1, (const Int4GemmArguments a)) { int4Gemm<2, 1>(a); }
SCENEBUS_KERNEL(int4Gemm64x128, 256, 1, (const Int4GemmArguments a)) { int4Gemm<2, 4>(a); }
SCENEBUS_KERNEL(int4Gemm32x32, 256, 1, (const Int4GemmArguments a)) { int4Gemm<1, 1>(a); }
SCENEBUS_KERNEL(int4Gemm32x128, 256, 1, (const Int4GemmArguments a)) { int4Gemm<1, 4>(a); }

} // namespace scenebus::kernels
