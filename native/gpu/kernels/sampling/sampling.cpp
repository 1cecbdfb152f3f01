#include "gpu/kernels/sampling/sampling.h"

namespace scenebus::kernels {
namespace {

void checkRows(const char* operation, int rows, int vocabulary) {
  if (rows <= 0 || vocabulary <= 0)
    rejectArguments(operation, "rows and a vocabulary above 0");
}

} // namespace

void argmax(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer logits, int rows, int vocabulary,
            cuda::DevicePointer tokens) {
  checkRows("argmax", rows, vocabulary);
  launch(device, stream, "argmaxRows", {static_cast<unsigned>(rows)}, 1024, 32 * 8,
         reinterpret_cast<const float*>(logits), vocabulary, reinterpret_cast<int*>(tokens));
}

void topP(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer logits, int rows, int vocabulary,
          float temperature, float topP, cuda::DevicePointer random, cuda::DevicePointer tokens) {
  checkRows("topP", rows, vocabulary);
  if (!(temperature > 0) || !(topP >= 0 && topP <= 1))
    rejectArguments("topP", "a temperature above 0 and topP from 0 to 1");
  constexpr float log2OfE = 1.44269504f;
  launch(device, stream, "topPRows", {static_cast<unsigned>(rows)}, 1024, (256 + 32 + 4) * 8,
         reinterpret_cast<const float*>(logits), vocabulary, log2OfE / temperature, topP,
         reinterpret_cast<const float*>(random), reinterpret_cast<int*>(tokens));
}

} // namespace scenebus::kernels
