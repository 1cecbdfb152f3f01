#include "gpu/kernels/elementwise/elementwiseArguments.h"
#include "gpu/kernels/shared/elements.h"

namespace scenebus::kernels {
namespace {

__device__ __forceinline__ float gateOf(const float* rowGates, int row, float gate) {
  return rowGates != nullptr ? gate * rowGates[row] : gate;
}

/** First pass: h, stored when there is an update, and this thread's part of the sum of its squares. */
__device__ __forceinline__ float addUpdate(const RmsNormArguments& a, int row, int from, int step) {
  const std::size_t base = static_cast<std::size_t>(row) * a.size;
  const float gate = a.update != nullptr ? gateOf(a.rowGates, row, a.gate) : 0.0f;
  float squares = 0;
  for (int i = from; i < a.size; i += step) {
    float h = readElement(a.hidden, base + i, a.hiddenType);
    if (a.update != nullptr) {
      h += gate * floatFromHalf(a.update[base + i]);
      if (a.hiddenType == 0)
        h = floatFromHalf(halfFromFloat(h)); // as the next reader will see it
      writeElement(a.sum, base + i, a.hiddenType, h);
    }
    squares += h * h;
  }
  return squares;
}

/** Second pass: each thread reads back what it wrote itself. */
__device__ __forceinline__ void writeNormed(const RmsNormArguments& a, int row, int from, int step, float squares) {
  const std::size_t base = static_cast<std::size_t>(row) * a.size;
  const void* h = a.update != nullptr ? a.sum : a.hidden;
  const float factor = squareRootInverse(squares / static_cast<float>(a.size) + a.eps);
  for (int i = from; i < a.size; i += step)
    a.y[base + i] = halfFromFloat(readElement(h, base + i, a.hiddenType) * factor *
                                  readElement(a.weight, static_cast<std::size_t>(i), a.weightType));
}

} // namespace

/** A block for each row. */
SCENEBUS_KERNEL(rmsNormBlock, 512, 1, (const RmsNormArguments a)) {
  SCENEBUS_SHARED(sharedMemory);
  auto* sums = reinterpret_cast<float*>(sharedMemory); // [warps]
  const int thread = static_cast<int>(threadIdx.x), row = static_cast<int>(blockIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const float own = sumOfWarp(addUpdate(a, row, thread, threads));
  if (thread % 32 == 0)
    sums[thread / 32] = own;
  __syncthreads();
  float squares = 0;
  for (int warp = 0; warp < threads / 32; ++warp)
    squares += sums[warp];
  writeNormed(a, row, thread, threads, squares);
}

/** A warp for each row: for heads. */
SCENEBUS_KERNEL(rmsNormWarp, 256, 1, (const RmsNormArguments a)) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= a.rows) // the same for the whole warp
    return;
  writeNormed(a, row, lane, 32, sumOfWarp(addUpdate(a, row, lane, 32)));
}

SCENEBUS_KERNEL(siluMulHalves, 256, 1,
                (const std::uint16_t* gate, const std::uint16_t* up, unsigned long long count, std::uint16_t* y)) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count)
    y[i] = halfFromFloat(silu(floatFromHalf(gate[i])) * floatFromHalf(up[i]));
}

SCENEBUS_KERNEL(gatedAddRows, 256, 1,
                (const void* hidden, int type, const std::uint16_t* update, float gate, const float* rowGates, int size,
                 void* y)) {
  const int row = static_cast<int>(blockIdx.y), i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size)
    return;
  const std::size_t at = static_cast<std::size_t>(row) * size + i;
  writeElement(y, at, type,
               readElement(hidden, at, type) + gateOf(rowGates, row, gate) * floatFromHalf(update[at]));
}

SCENEBUS_KERNEL(gatherTableRows, 256, 1,
                (const void* table, int tableType, int tableRows, const int* ids, int size, void* y, int outputType)) {
  const int row = static_cast<int>(blockIdx.y), i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size)
    return;
  const int id = ids[row];
  const float value =
      id >= 0 && id < tableRows ? readElement(table, static_cast<std::size_t>(id) * size + i, tableType) : 0.0f;
  writeElement(y, static_cast<std::size_t>(row) * size + i, outputType, value);
}

/** A block works on some rows of pixels of one tile and channel, by a table of the 256 values that a byte can get. */
SCENEBUS_KERNEL(imageTilesOf, 256, 1, (const ImageTilesArguments a)) {
  SCENEBUS_SHARED(sharedMemory);
  auto* values = reinterpret_cast<float*>(sharedMemory); // [256]
  const int tile = static_cast<int>(blockIdx.z), channel = static_cast<int>(blockIdx.y);
  // Chosen by comparison: a parameter that is indexed would be copied to local memory.
  const float mean = channel == 0 ? a.mean[0] : channel == 1 ? a.mean[1] : a.mean[2];
  const float deviation = channel == 0 ? a.std[0] : channel == 1 ? a.std[1] : a.std[2];
  const double product = multiplyRounded(static_cast<double>(threadIdx.x), a.rescaleFactor);
  values[threadIdx.x] = divideRounded(subtractRounded(static_cast<float>(product), mean), deviation);
  __syncthreads();
  const int left = tile % a.columns * a.tileSize, top = tile / a.columns * a.tileSize;
  const int sample = a.isBgr != 0 ? 2 - channel : channel;
  const std::size_t base = (static_cast<std::size_t>(tile) * 3 + channel) * a.tileSize * a.tileSize;
  for (int y = static_cast<int>(blockIdx.x); y < a.tileSize; y += static_cast<int>(gridDim.x))
    for (int x = static_cast<int>(threadIdx.x); x < a.tileSize; x += static_cast<int>(blockDim.x)) {
      const bool inside = top + y < a.height && left + x < a.width;
      const int byte =
          inside ? a.image[(static_cast<std::size_t>(top + y) * a.width + left + x) * 3 + sample] : 0;
      writeElement(a.tiles, base + static_cast<std::size_t>(y) * a.tileSize + x, a.tileType, values[byte]);
    }
}

} // namespace scenebus::kernels
