#pragma once
#include <cstddef>

namespace scenebus::cuda {

/** The kernels of native/kernels as nvcc compiled them (a fatbin); empty where the build had no nvcc. */
struct KernelImage {
  const unsigned char* data = nullptr;
  std::size_t bytes = 0;
  /** What it holds, e.g. "sm_87 compute_87"; or why it is empty. */
  const char* description = "";
};

KernelImage kernelImage();

} // namespace scenebus::cuda
