#include "cpu/kernels/visionKernels.h"

namespace scenebus::cpu {

const VisionKernels& visionKernelsFor(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
  case InstructionSet::kAvx2:
    return avx2VisionKernels();
  case InstructionSet::kAvx512Vnni:
    return avx512VisionKernels();
#elif defined(__aarch64__)
  case InstructionSet::kNeonDotprod:
    return neonVisionKernels();
#endif
  default:
    return scalarVisionKernels();
  }
}

} // namespace scenebus::cpu
