#pragma once
#include <cstddef>
#include <vector>

namespace scenebus::cuda {

/** The kernels of native/gpu/kernels as nvcc compiled them: a fatbin for each source. */
struct KernelImages {
  struct Image {
    const unsigned char* data = nullptr;
    std::size_t bytes = 0;
  };
  /** What they were compiled for, e.g. "sm_87 and PTX for 80"; or why there are none. */
  const char* description = "";
  /** Empty where the build had no nvcc. */
  std::vector<Image> images;
};

const KernelImages& kernelImages();

} // namespace scenebus::cuda
