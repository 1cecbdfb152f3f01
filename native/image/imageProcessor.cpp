#include "image/imageProcessor.h"

#include <algorithm>

#include "common/vectorize.h"
#include "image/pillowResize.h"

namespace scenebus {

namespace {

using LookupTable = std::array<std::array<float, 256>, 3>; // [channel][byte]

LookupTable makeLookupTable(const Normalization& normalization) {
  LookupTable table;
  for (size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(normalization.mean[c]);
    const auto std = static_cast<float>(normalization.std[c]);
    for (size_t byte = 0; byte < 256; ++byte) {
      const auto value = static_cast<float>(static_cast<double>(byte) * normalization.rescaleFactor);
      table[c][byte] = (value - mean) / std;
    }
  }
  return table;
}

SCENEBUS_VECTORIZED void normalizeRow(const uint8_t* pixels, const float* table, int count, float* out) {
  for (int x = 0; x < count; ++x)
    out[x] = table[pixels[static_cast<size_t>(x) * 3]];
}

} // namespace

void fillTiles(const PixelView& image, const TileLayout& layout, int tileSize, const Normalization& normalization,
               float* pixelValues, uint8_t* tileBytes) {
  const LookupTable table = makeLookupTable(normalization);
  const auto side = static_cast<size_t>(tileSize);
  PillowResize resize(image.data, image.width, image.height, layout.resizedWidth, layout.resizedHeight);
  for (int y = 0; y < layout.rows * tileSize; ++y) {
    const uint8_t* row = y < layout.resizedHeight ? resize.row(y) : nullptr;
    for (int column = 0; column < layout.columns; ++column) {
      const int left = column * tileSize;
      const int filled = row == nullptr ? 0 : std::clamp(layout.resizedWidth - left, 0, tileSize);
      const auto tile = static_cast<size_t>(y / tileSize * layout.columns + column);
      for (size_t c = 0; c < 3; ++c) {
        const size_t offset = ((tile * 3 + c) * side + static_cast<size_t>(y % tileSize)) * side;
        float* out = pixelValues + offset;
        if (filled > 0) {
          const uint8_t* samples = row + static_cast<size_t>(left) * 3 + (image.isBgr ? 2 - c : c);
          normalizeRow(samples, table[c].data(), filled, out);
          if (tileBytes != nullptr) {
            for (int x = 0; x < filled; ++x)
              tileBytes[offset + static_cast<size_t>(x)] = samples[static_cast<size_t>(x) * 3];
          }
        }
        std::fill(out + filled, out + side, table[c][0]);
      }
    }
  }
}

} // namespace scenebus
