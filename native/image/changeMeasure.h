#pragma once
#include <cstdint>

namespace scenebus {

/**
 * Mean grey level of each cell of a grid laid over the image: a thumbnail that averages sensor noise away.
 * At most 8 × 8 pixels of a cell are looked at, evenly spread, so the cost does not grow with the image.
 *
 * @param pixels    `[height, width, 3]`; sizes > 0
 * @param thumbnail `[gridHeight, gridWidth]`, written
 */
void greyThumbnail(const uint8_t* pixels, int width, int height, bool isBgr, int gridWidth, int gridHeight,
                   uint8_t* thumbnail);

struct ThumbnailDifference {
  double mean = 0.0;     // mean absolute difference of all cells, 0–255
  double maxBlock = 0.0; // largest mean absolute difference of a block, 0–255
};

/** Compares two thumbnails, as a whole and in blocks of `blockSize` × `blockSize` cells (fewer at the edges). */
ThumbnailDifference compareThumbnails(const uint8_t* a, const uint8_t* b, int gridWidth, int gridHeight, int blockSize);

} // namespace scenebus
