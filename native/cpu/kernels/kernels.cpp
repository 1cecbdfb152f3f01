#include "cpu/kernels/kernels.h"

namespace scenebus::cpu {

const Kernels& kernelsFor(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
  case InstructionSet::kAvx2:
    return avx2Kernels();
  case InstructionSet::kAvx512Vnni:
    return avx512Kernels();
#elif defined(__aarch64__)
  case InstructionSet::kNeonDotprod:
    return neonKernels();
#endif
  default:
    return scalarKernels();
  }
}

} // namespace scenebus::cpu
