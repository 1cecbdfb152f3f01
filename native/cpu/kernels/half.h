#pragma once
#include <cstdint>
#include <cstring>

/** 16-bit floats in plain C++. Used while loading and by the scalar kernels; exact in both directions. */
namespace scenebus::cpu {

inline float floatFromBits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline std::uint32_t bitsOfFloat(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float floatFromBf16(std::uint16_t value) {
  return floatFromBits(static_cast<std::uint32_t>(value) << 16);
}

inline float floatFromF16(std::uint16_t value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value & 0x8000u) << 16;
  const std::uint32_t magnitude = value & 0x7fffu;
  if (magnitude >= 0x7c00u) // infinity, NaN
    return floatFromBits(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude < 0x400u) // subnormal: an integer multiple of 2^-24
    return floatFromBits(sign | bitsOfFloat(static_cast<float>(magnitude) * 0x1p-24f));
  return floatFromBits(sign | ((magnitude << 13) + 0x38000000u));
}

/** Rounds to nearest, ties to even, as the hardware instructions do. */
inline std::uint16_t f16FromFloat(float value) {
  const std::uint32_t bits = bitsOfFloat(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) // NaN stays one, quiet
    return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) // 65520 and above round to infinity
    return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the spacing is 2^-24: adding 0.5 (spacing 2^-24) makes the float adder round there.
    const float shifted = floatFromBits(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (bitsOfFloat(shifted) - bitsOfFloat(0.5f)));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

} // namespace scenebus::cpu
