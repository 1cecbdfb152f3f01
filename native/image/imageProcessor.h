#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "image/tileLayout.h"

namespace scenebus {

/** 8-bit interleaved pixels, `[height, width, 3]`, no row padding; borrowed. */
struct PixelView {
  const uint8_t* data = nullptr;
  int width = 0;
  int height = 0;
  bool isBgr = false;
};

/** Bytes to model input: `(float32(byte * rescale) - mean) / std`, per channel R, G, B. */
struct Normalization {
  double rescaleFactor = 1.0 / 255;
  std::array<double, 3> mean{};
  std::array<double, 3> std{};
};

/** Elements of one tile: 3 × tileSize². */
inline size_t tileElements(int tileSize) {
  return size_t{3} * static_cast<size_t>(tileSize) * static_cast<size_t>(tileSize);
}

/**
 * Resizes, pads at the bottom and right with byte 0, normalises and cuts into tiles, row-major.
 *
 * @param pixelValues `[layout.numTiles(), 3, tileSize, tileSize]`, every element is written
 * @param tileBytes   null, or the same shape in bytes before normalising; must be zeroed
 */
void fillTiles(const PixelView& image, const TileLayout& layout, int tileSize, const Normalization& normalization,
               float* pixelValues, uint8_t* tileBytes);

} // namespace scenebus
