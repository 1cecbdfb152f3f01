#include "gpu/kernels/elementwise/elementwise.h"

#include "gpu/kernels/elementwise/elementwiseArguments.h"

#include <algorithm>

namespace scenebus::kernels {
namespace {

template <typename T> T* as(cuda::DevicePointer pointer) { return reinterpret_cast<T*>(pointer); }

constexpr int kMostRows = 65535; // the grid's second dimension

void checkRows(const char* operation, int rows, int size) {
  if (rows <= 0 || rows > kMostRows || size <= 0)
    rejectArguments(operation, "1 to 65535 rows of a positive size, received " + std::to_string(rows) + " of " +
                                   std::to_string(size));
}

} // namespace

void rmsNorm(cuda::Device& device, cuda::Stream stream, const RmsNorm& norm) {
  if (norm.rows <= 0 || norm.size <= 0 || norm.hiddenType == ElementType::kBf16 || (norm.update != 0 && norm.sum == 0))
    rejectArguments("rmsNorm", "rows and size above 0, hidden of f16 or f32, and a place for the sum with an update");
  const RmsNormArguments a{as<const void>(norm.hidden),
                           as<const std::uint16_t>(norm.update),
                           as<const float>(norm.rowGates),
                           as<void>(norm.sum),
                           as<const void>(norm.weight),
                           as<std::uint16_t>(norm.y),
                           static_cast<int>(norm.hiddenType),
                           static_cast<int>(norm.weightType),
                           norm.rows,
                           norm.size,
                           norm.gate,
                           norm.eps};
  const auto rows = static_cast<unsigned>(norm.rows);
  if (norm.size <= 256)
    launch(device, stream, "rmsNormWarp", {ceilDivide(rows, 8)}, 256, 0, a);
  else
    launch(device, stream, "rmsNormBlock", {rows}, 512, 16 * sizeof(float), a);
}

void siluMul(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer gate, cuda::DevicePointer up,
             std::size_t count, cuda::DevicePointer y) {
  if (count == 0)
    return;
  launch(device, stream, "siluMulHalves", {ceilDivide(count, kElementwiseThreads)}, kElementwiseThreads, 0,
         as<const std::uint16_t>(gate), as<const std::uint16_t>(up), static_cast<unsigned long long>(count),
         as<std::uint16_t>(y));
}

void gatedAdd(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer hidden, ElementType type,
              cuda::DevicePointer update, float gate, cuda::DevicePointer rowGates, int rows, int size,
              cuda::DevicePointer y) {
  checkRows("gatedAdd", rows, size);
  launch(device, stream, "gatedAddRows",
         {ceilDivide(static_cast<std::size_t>(size), kElementwiseThreads), static_cast<unsigned>(rows)},
         kElementwiseThreads, 0, as<const void>(hidden), static_cast<int>(type), as<const std::uint16_t>(update), gate,
         as<const float>(rowGates), size, as<void>(y));
}

void gatherRows(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer table, ElementType tableType,
                int tableRows, cuda::DevicePointer ids, int count, int size, cuda::DevicePointer y,
                ElementType outputType) {
  checkRows("gatherRows", count, size);
  launch(device, stream, "gatherTableRows",
         {ceilDivide(static_cast<std::size_t>(size), kElementwiseThreads), static_cast<unsigned>(count)},
         kElementwiseThreads, 0, as<const void>(table), static_cast<int>(tableType), tableRows, as<const int>(ids), size,
         as<void>(y), static_cast<int>(outputType));
}

void imageTiles(cuda::Device& device, cuda::Stream stream, const ImageTiles& image) {
  if (image.width <= 0 || image.height <= 0 || image.rows <= 0 || image.columns <= 0 || image.tileSize <= 0)
    rejectArguments("imageTiles", "a positive size of image, grid and tiles");
  ImageTilesArguments a{as<const std::uint8_t>(image.image),
                        as<void>(image.tiles),
                        image.rescaleFactor,
                        {},
                        {},
                        image.width,
                        image.height,
                        image.isBgr ? 1 : 0,
                        image.columns,
                        image.tileSize,
                        static_cast<int>(image.tileType)};
  std::copy_n(image.mean, 3, a.mean);
  std::copy_n(image.std, 3, a.std);
  launch(device, stream, "imageTilesOf",
         {static_cast<unsigned>(std::min(image.tileSize, 64)), 3, static_cast<unsigned>(image.rows * image.columns)},
         kElementwiseThreads, 256 * sizeof(float), a);
}

} // namespace scenebus::kernels
