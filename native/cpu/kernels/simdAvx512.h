#pragma once
#include <cstdint>

#include <immintrin.h>

#define SCENEBUS_INLINE static inline __attribute__((always_inline))

namespace scenebus::cpu {
// Of each file that includes it alone: code for these instructions must never be shared with another file.
namespace {

/** Sixteen floats; only for files compiled for AVX-512. */
struct SimdAvx512 {
  using Vector = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kAttendVectors = 4;
  SCENEBUS_INLINE Vector zero() { return _mm512_setzero_ps(); }
  SCENEBUS_INLINE Vector set1(float v) { return _mm512_set1_ps(v); }
  SCENEBUS_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
  SCENEBUS_INLINE void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  SCENEBUS_INLINE Vector loadF16(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  SCENEBUS_INLINE Vector loadBf16(const std::uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  SCENEBUS_INLINE Vector loadI8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  SCENEBUS_INLINE float scalarF32(const float* p) { return _mm_cvtss_f32(_mm_loadu_ps_one(p)); }
  SCENEBUS_INLINE float scalarF16(const std::uint16_t* p) { return _cvtsh_ss(unaligned(p)); }
  SCENEBUS_INLINE float scalarBf16(const std::uint16_t* p) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(unaligned(p)) << 16)));
  }
  SCENEBUS_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  SCENEBUS_INLINE Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  SCENEBUS_INLINE Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  SCENEBUS_INLINE Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  SCENEBUS_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  SCENEBUS_INLINE Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  SCENEBUS_INLINE Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  SCENEBUS_INLINE float sum(Vector v) { return _mm512_reduce_add_ps(v); }
  SCENEBUS_INLINE float maxOf(Vector v) { return _mm512_reduce_max_ps(v); }
  SCENEBUS_INLINE Vector round(Vector v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT); }
  SCENEBUS_INLINE Vector scaleByPowerOfTwo(Vector v, Vector n) { return _mm512_scalef_ps(v, n); }

private:
  SCENEBUS_INLINE std::uint16_t unaligned(const std::uint16_t* p) {
    std::uint16_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  SCENEBUS_INLINE __m128 _mm_loadu_ps_one(const float* p) {
    float v;
    __builtin_memcpy(&v, p, sizeof(v));
    return _mm_set_ss(v);
  }
};

} // namespace
} // namespace scenebus::cpu
