#include "image/tileLayout.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace scenebus {

TileLayout chooseTileLayout(int width, int height, int tileSize, const std::vector<std::pair<int, int>>& arrangements) {
  // The smallest enlargement that fills the canvas; when every canvas is too small, the least reduction.
  double best = 0.0;
  size_t chosen = 0;
  bool found = false;
  for (size_t i = 0; i < arrangements.size(); ++i) {
    const auto [rows, columns] = arrangements[i];
    const double scale =
        std::min(static_cast<double>(rows * tileSize) / height, static_cast<double>(columns * tileSize) / width);
    const int area = rows * columns;
    const int bestArea = arrangements[chosen].first * arrangements[chosen].second;
    const bool fills = scale >= 1.0;
    const bool bestFills = best >= 1.0;
    const bool better = fills != bestFills ? fills : (fills ? scale < best : scale > best);
    if (!found || better || (scale == best && area < bestArea)) {
      found = true;
      best = scale;
      chosen = i;
    }
  }

  TileLayout layout;
  layout.aspectRatioId = static_cast<int>(chosen) + 1;
  layout.rows = arrangements[chosen].first;
  layout.columns = arrangements[chosen].second;

  // Aspect kept; an image is never enlarged beyond one tile side just to fill a larger canvas.
  const int targetWidth = std::clamp(width, tileSize, layout.columns * tileSize);
  const int targetHeight = std::clamp(height, tileSize, layout.rows * tileSize);
  const double scaleX = static_cast<double>(targetWidth) / width;
  const double scaleY = static_cast<double>(targetHeight) / height;
  if (scaleX < scaleY) {
    layout.resizedWidth = targetWidth;
    layout.resizedHeight = std::min(std::max(1, static_cast<int>(std::floor(height * scaleX))), targetHeight);
  } else {
    layout.resizedHeight = targetHeight;
    layout.resizedWidth = std::min(std::max(1, static_cast<int>(std::floor(width * scaleY))), targetWidth);
  }
  return layout;
}

} // namespace scenebus
