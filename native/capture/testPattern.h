#pragma once
#include <cstdint>
#include <cstring>

namespace scenebus::capture {

/** Squares of this many pixels a side. */
constexpr uint32_t kCheckerSide = 16;

/** Value of all three bytes of a pixel: every square of every frame number differs from the frame before it. */
inline uint8_t checkerValue(uint32_t x, uint32_t y, uint64_t number) {
  const bool odd = ((x / kCheckerSide + y / kCheckerSide) & 1U) != 0;
  const auto base = static_cast<uint8_t>(number * 37);
  return odd ? static_cast<uint8_t>(~base) : base;
}

/**
 * A checker whose two greys follow from the frame's number, so that any mixture of two frames shows.
 * pixels: bgr8 `[height, width, 3]`.
 */
inline void drawChecker(uint8_t* pixels, uint32_t width, uint32_t height, uint64_t number) {
  const uint64_t rowBytes = static_cast<uint64_t>(width) * 3;
  for (uint32_t y = 0; y < height; ++y) {
    uint8_t* row = pixels + y * rowBytes;
    if (y >= 2 * kCheckerSide) { // the pattern repeats every two squares
      std::memcpy(row, row - 2 * kCheckerSide * rowBytes, rowBytes);
      continue;
    }
    for (uint32_t x = 0; x < width; ++x)
      std::memset(row + x * 3, checkerValue(x, y, number), 3);
  }
}

constexpr uint32_t kTimeCodeBits = 24;

/**
 * The lowest 24 bits of a time in milliseconds (4.6 hours until it begins again), the highest first, as fields that are
 * white or black, side by side over the whole width in the top sixteenth: wide enough to be read back out of a JPEG.
 */
inline void drawTimeCode(uint8_t* pixels, uint32_t width, uint32_t height, uint64_t wallMs) {
  const uint64_t rowBytes = static_cast<uint64_t>(width) * 3;
  for (uint32_t y = 0; y < height / 16; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      const uint32_t bit = kTimeCodeBits - 1 - x * kTimeCodeBits / width;
      std::memset(pixels + y * rowBytes + x * 3, ((wallMs >> bit) & 1U) != 0 ? 255 : 0, 3);
    }
  }
}

/** Whether every byte belongs to the frame of this number. */
inline bool isChecker(const uint8_t* pixels, uint32_t width, uint32_t height, uint64_t number) {
  for (uint32_t y = 0; y < height; ++y) {
    const uint8_t* row = pixels + static_cast<uint64_t>(y) * width * 3;
    for (uint32_t x = 0; x < width; ++x) {
      const uint8_t expected = checkerValue(x, y, number);
      if (row[x * 3] != expected || row[x * 3 + 1] != expected || row[x * 3 + 2] != expected)
        return false;
    }
  }
  return true;
}

} // namespace scenebus::capture
