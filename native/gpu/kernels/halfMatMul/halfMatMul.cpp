#include "gpu/kernels/halfMatMul/halfMatMul.h"

#include <algorithm>

namespace scenebus::kernels {

void halfMatMul(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer x, int rows, cuda::DevicePointer weight,
                int outputs, int inputs, cuda::DevicePointer y, ElementType outputType) {
  if (rows <= 0 || outputs <= 0 || inputs <= 0 || inputs % 32 != 0 || x % 16 != 0 || weight % 16 != 0 ||
      outputType == ElementType::kBf16)
    rejectArguments("halfMatMul", "rows, N > 0, K a multiple of 32, 16-byte aligned x and W, an output of f16 or f32");
  const unsigned warps = std::min(8u, ceilDivide(static_cast<std::size_t>(inputs), 128));
  for (int first = 0; first < rows; first += 8) {
    const auto at = static_cast<cuda::DevicePointer>(first);
    launch(device, stream, "halfGemv", {ceilDivide(static_cast<std::size_t>(outputs), 16)}, warps * 32,
           warps * 16 * 8 * 4, reinterpret_cast<const std::uint16_t*>(x + at * static_cast<unsigned>(inputs) * 2),
           std::min(8, rows - first), reinterpret_cast<const std::uint16_t*>(weight), outputs, inputs,
           reinterpret_cast<void*>(y + at * static_cast<unsigned>(outputs) * bytesOf(outputType)),
           outputType == ElementType::kF32 ? 1 : 0);
  }
}

} // namespace scenebus::kernels
