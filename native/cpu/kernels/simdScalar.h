#pragma once
#include "cpu/kernels/half.h"

#include <cmath>
#include <cstring>

namespace scenebus::cpu {
// Of each file that includes it alone: code for these instructions must never be shared with another file.
namespace {

/** Plain C++. */
struct SimdScalar {
  using Vector = float;
  static constexpr int kWidth = 1;
  static constexpr int kAttendVectors = 1;
  static Vector zero() { return 0.0f; }
  static Vector set1(float v) { return v; }
  static Vector load(const float* p) {
    float v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static void store(float* p, Vector v) { *p = v; }
  static Vector loadF16(const std::uint16_t* p) { return scalarF16(p); }
  static Vector loadBf16(const std::uint16_t* p) { return scalarBf16(p); }
  static Vector loadI8(const std::int8_t* p) { return static_cast<float>(*p); }
  static float scalarF32(const float* p) { return load(p); }
  static float scalarF16(const std::uint16_t* p) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof(v));
    return floatFromF16(v);
  }
  static float scalarBf16(const std::uint16_t* p) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof(v));
    return floatFromBf16(v);
  }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector sub(Vector a, Vector b) { return a - b; }
  static Vector mul(Vector a, Vector b) { return a * b; }
  static Vector div(Vector a, Vector b) { return a / b; }
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  static Vector max(Vector a, Vector b) { return a > b ? a : b; }
  static Vector min(Vector a, Vector b) { return a < b ? a : b; }
  static float sum(Vector v) { return v; }
  static float maxOf(Vector v) { return v; }
  static Vector round(Vector v) { return std::nearbyintf(v); }
  static Vector scaleByPowerOfTwo(Vector v, Vector n) {
    if (n != n) // no integer
      return n;
    return v * floatFromBits(static_cast<std::uint32_t>(static_cast<int>(n) + 127) << 23);
  }
};

} // namespace
} // namespace scenebus::cpu
