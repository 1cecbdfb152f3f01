#include "cpu/kernels/simdAvx2.h"
#include "cpu/kernels/visionLoops.h"

namespace scenebus::cpu {
namespace {

struct ProductsAvx2 {
  /** Rows 0 … 7 and 8 … 15. */
  struct Halves {
    __m256i low, high;
  };
  using Sums = Halves;
  using Weights = Halves;
  using Input = __m256i;
  static constexpr int kGroups = 1, kTokens = 4;
  // 255 · 63 · 2 < 2^15
  static constexpr int kWeightLevels = 63, kInputOffset = 128;
  SCENEBUS_INLINE Sums zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  SCENEBUS_INLINE Weights load(const std::uint8_t* line) {
    const auto* at = reinterpret_cast<const __m256i*>(line);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  SCENEBUS_INLINE Input broadcast(const std::uint8_t* x) {
    std::int32_t four;
    __builtin_memcpy(&four, x, sizeof(four));
    return _mm256_set1_epi32(four);
  }
  SCENEBUS_INLINE Sums addBytes(Sums sums, Weights w, Input x) {
    return {addBytesOf(sums.low, w.low, x), addBytesOf(sums.high, w.high, x)};
  }
  SCENEBUS_INLINE Sums addShorts(Sums sums, Weights w, Input x) {
    return {pinned(_mm256_add_epi32(sums.low, _mm256_madd_epi16(w.low, x))),
            pinned(_mm256_add_epi32(sums.high, _mm256_madd_epi16(w.high, x)))};
  }
  SCENEBUS_INLINE __m256 floats(Sums sums, Sums base, int part) {
    return _mm256_cvtepi32_ps(part == 0 ? _mm256_sub_epi32(sums.low, base.low)
                                        : _mm256_sub_epi32(sums.high, base.high));
  }
  SCENEBUS_INLINE void storeShorts(std::int16_t* to, __m256 v) {
    const __m256i wide = _mm256_cvtps_epi32(v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
  }

private:
  SCENEBUS_INLINE __m256i addBytesOf(__m256i sums, __m256i w, __m256i x) {
    const __m256i products = _mm256_maddubs_epi16(x, w);
    return pinned(_mm256_add_epi32(sums, _mm256_madd_epi16(products, _mm256_set1_epi16(1))));
  }
  /** Keeps the compiler from computing in another order, for which it would move registers to the stack. */
  SCENEBUS_INLINE __m256i pinned(__m256i v) {
    asm("" : "+x"(v));
    return v;
  }
};

} // namespace

const VisionKernels& avx2VisionKernels() {
  using Loops = VisionLoops<SimdAvx2, ProductsAvx2>;
  static const VisionKernels kernels{InstructionSet::kAvx2,
                                     ProductsAvx2::kWeightLevels,
                                     ProductsAvx2::kInputOffset,
                                     Loops::quantizeRow,
                                     Loops::matmul,
                                     Loops::layerNorm,
                                     Loops::gelu,
                                     Loops::attend};
  return kernels;
}

} // namespace scenebus::cpu
