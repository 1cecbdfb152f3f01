#pragma once
#include <utility>
#include <vector>

namespace scenebus {

/** Where an image lands: arrangement of tiles and the size it is resized to. All in pixels. */
struct TileLayout {
  int aspectRatioId = 0; // index of the arrangement + 1
  int rows = 0;
  int columns = 0;
  int resizedWidth = 0;
  int resizedHeight = 0;

  int numTiles() const { return rows * columns; }
};

/**
 * The canvas that the architecture's processor chooses for a `width` × `height` image, and the resize target on it.
 * `arrangements` are pairs (rows, columns), not empty; sizes > 0. All comparisons are exact in float64.
 */
TileLayout chooseTileLayout(int width, int height, int tileSize, const std::vector<std::pair<int, int>>& arrangements);

} // namespace scenebus
