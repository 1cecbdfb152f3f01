#pragma once
#include <cstdint>

#include <arm_neon.h>

#define SCENEBUS_INLINE static inline __attribute__((always_inline))

namespace scenebus::cpu {
// Of each file that includes it alone: code for these instructions must never be shared with another file.
namespace {

/** Four floats; only for files compiled for 64-bit Arm. */
struct SimdNeon {
  using Vector = float32x4_t;
  static constexpr int kWidth = 4;
  static constexpr int kAttendVectors = 4;
  SCENEBUS_INLINE Vector zero() { return vdupq_n_f32(0.0f); }
  SCENEBUS_INLINE Vector set1(float v) { return vdupq_n_f32(v); }
  SCENEBUS_INLINE Vector load(const float* p) { return vld1q_f32(p); }
  SCENEBUS_INLINE void store(float* p, Vector v) { vst1q_f32(p, v); }
  SCENEBUS_INLINE Vector loadF16(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  SCENEBUS_INLINE Vector loadBf16(const std::uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }
  SCENEBUS_INLINE Vector loadI8(const std::int8_t* p) {
    std::uint32_t four;
    __builtin_memcpy(&four, p, sizeof(four));
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
  }
  SCENEBUS_INLINE float scalarF32(const float* p) {
    float v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  SCENEBUS_INLINE float scalarF16(const std::uint16_t* p) {
    __fp16 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return static_cast<float>(v);
  }
  SCENEBUS_INLINE float scalarBf16(const std::uint16_t* p) {
    std::uint16_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    const std::uint32_t bits = static_cast<std::uint32_t>(v) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
  }
  SCENEBUS_INLINE Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  SCENEBUS_INLINE Vector sub(Vector a, Vector b) { return vsubq_f32(a, b); }
  SCENEBUS_INLINE Vector mul(Vector a, Vector b) { return vmulq_f32(a, b); }
  SCENEBUS_INLINE Vector div(Vector a, Vector b) { return vdivq_f32(a, b); }
  SCENEBUS_INLINE Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  SCENEBUS_INLINE Vector max(Vector a, Vector b) { return vmaxq_f32(a, b); }
  SCENEBUS_INLINE Vector min(Vector a, Vector b) { return vminq_f32(a, b); }
  SCENEBUS_INLINE float sum(Vector v) { return vaddvq_f32(v); }
  SCENEBUS_INLINE float maxOf(Vector v) { return vmaxvq_f32(v); }
  SCENEBUS_INLINE Vector round(Vector v) { return vrndnq_f32(v); }
  SCENEBUS_INLINE Vector scaleByPowerOfTwo(Vector v, Vector n) {
    const int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(v, vreinterpretq_f32_s32(exponent));
  }
};

} // namespace
} // namespace scenebus::cpu
