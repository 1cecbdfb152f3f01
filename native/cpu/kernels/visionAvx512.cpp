#include "cpu/kernels/simdAvx512.h"
#include "cpu/kernels/visionLoops.h"

namespace scenebus::cpu {
namespace {

struct ProductsAvx512 {
  using Sums = __m512i;
  using Weights = __m512i;
  using Input = __m512i;
  static constexpr int kGroups = 2, kTokens = 12;
  static constexpr int kWeightLevels = 127, kInputOffset = 128;
  SCENEBUS_INLINE Sums zero() { return _mm512_setzero_si512(); }
  SCENEBUS_INLINE Weights load(const std::uint8_t* line) { return _mm512_loadu_si512(line); }
  SCENEBUS_INLINE Input broadcast(const std::uint8_t* x) {
    std::int32_t four;
    __builtin_memcpy(&four, x, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  SCENEBUS_INLINE Sums addBytes(Sums sums, Weights w, Input x) { return pinned(_mm512_dpbusd_epi32(sums, x, w)); }
  SCENEBUS_INLINE Sums addShorts(Sums sums, Weights w, Input x) { return pinned(_mm512_dpwssd_epi32(sums, w, x)); }
  SCENEBUS_INLINE __m512 floats(Sums sums, Sums base, int) { return _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, base)); }
  SCENEBUS_INLINE void storeShorts(std::int16_t* to, __m512 v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)));
  }

private:
  /** Keeps the compiler from computing in another order, for which it would move registers to the stack. */
  SCENEBUS_INLINE __m512i pinned(__m512i v) {
    asm("" : "+v"(v));
    return v;
  }
};

} // namespace

const VisionKernels& avx512VisionKernels() {
  using Loops = VisionLoops<SimdAvx512, ProductsAvx512>;
  static const VisionKernels kernels{InstructionSet::kAvx512Vnni,
                                     ProductsAvx512::kWeightLevels,
                                     ProductsAvx512::kInputOffset,
                                     Loops::quantizeRow,
                                     Loops::matmul,
                                     Loops::layerNorm,
                                     Loops::gelu,
                                     Loops::attend};
  return kernels;
}

} // namespace scenebus::cpu
