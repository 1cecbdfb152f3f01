#pragma once
#include <cstdint>

#include <immintrin.h>

#define SCENEBUS_INLINE static inline __attribute__((always_inline))

namespace scenebus::cpu {
// Of each file that includes it alone: code for these instructions must never be shared with another file.
namespace {

/** Eight floats; only for files compiled for AVX2, FMA and F16C. */
struct SimdAvx2 {
  using Vector = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kAttendVectors = 2;
  SCENEBUS_INLINE Vector zero() { return _mm256_setzero_ps(); }
  SCENEBUS_INLINE Vector set1(float v) { return _mm256_set1_ps(v); }
  SCENEBUS_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
  SCENEBUS_INLINE void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  SCENEBUS_INLINE Vector loadF16(const std::uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  SCENEBUS_INLINE Vector loadBf16(const std::uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  SCENEBUS_INLINE Vector loadI8(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  SCENEBUS_INLINE float scalarF32(const float* p) {
    float v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  SCENEBUS_INLINE float scalarF16(const std::uint16_t* p) { return _cvtsh_ss(unaligned(p)); }
  SCENEBUS_INLINE float scalarBf16(const std::uint16_t* p) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(unaligned(p)) << 16)));
  }
  SCENEBUS_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  SCENEBUS_INLINE Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  SCENEBUS_INLINE Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  SCENEBUS_INLINE Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  SCENEBUS_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  SCENEBUS_INLINE Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  SCENEBUS_INLINE Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  SCENEBUS_INLINE float sum(Vector v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  SCENEBUS_INLINE float maxOf(Vector v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  SCENEBUS_INLINE Vector round(Vector v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  SCENEBUS_INLINE Vector scaleByPowerOfTwo(Vector v, Vector n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(v, _mm256_castsi256_ps(exponent));
  }

private:
  SCENEBUS_INLINE std::uint16_t unaligned(const std::uint16_t* p) {
    std::uint16_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
};

} // namespace
} // namespace scenebus::cpu
