#include "image/changeMeasure.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace scenebus {

namespace {

constexpr int kSamplesPerSide = 8;

// BT.601 luma in 8-bit fixed point.
constexpr int kRed = 77;
constexpr int kGreen = 150;
constexpr int kBlue = 29;

/** Rounded up: rounded down, a cell of 15 pixels would have 15 samples. */
int stepFor(int size) { return (size + kSamplesPerSide - 1) / kSamplesPerSide; }

} // namespace

void greyThumbnail(const uint8_t* pixels, int width, int height, bool isBgr, int gridWidth, int gridHeight,
                   uint8_t* thumbnail) {
  const int first = isBgr ? kBlue : kRed;
  const int last = isBgr ? kRed : kBlue;
  for (int gy = 0; gy < gridHeight; ++gy) {
    // A grid finer than the image repeats pixels: every cell has at least one.
    const int top = static_cast<int>(static_cast<int64_t>(height) * gy / gridHeight);
    const int bottom = std::max(top + 1, static_cast<int>(static_cast<int64_t>(height) * (gy + 1) / gridHeight));
    const int stepY = stepFor(bottom - top);
    for (int gx = 0; gx < gridWidth; ++gx) {
      const int left = static_cast<int>(static_cast<int64_t>(width) * gx / gridWidth);
      const int right = std::max(left + 1, static_cast<int>(static_cast<int64_t>(width) * (gx + 1) / gridWidth));
      const int stepX = stepFor(right - left);
      int64_t sum = 0;
      int64_t count = 0;
      for (int y = top; y < bottom; y += stepY) {
        const uint8_t* row = pixels + (static_cast<size_t>(y) * static_cast<size_t>(width)) * 3;
        for (int x = left; x < right; x += stepX) {
          const uint8_t* pixel = row + static_cast<size_t>(x) * 3;
          sum += first * pixel[0] + kGreen * pixel[1] + last * pixel[2];
          ++count;
        }
      }
      thumbnail[static_cast<size_t>(gy) * static_cast<size_t>(gridWidth) + static_cast<size_t>(gx)] =
          static_cast<uint8_t>((sum / count + 128) >> 8);
    }
  }
}

ThumbnailDifference compareThumbnails(const uint8_t* a, const uint8_t* b, int gridWidth, int gridHeight,
                                      int blockSize) {
  ThumbnailDifference difference;
  int64_t total = 0;
  for (int blockTop = 0; blockTop < gridHeight; blockTop += blockSize) {
    const int blockBottom = std::min(gridHeight, blockTop + blockSize);
    for (int blockLeft = 0; blockLeft < gridWidth; blockLeft += blockSize) {
      const int blockRight = std::min(gridWidth, blockLeft + blockSize);
      int64_t sum = 0;
      for (int y = blockTop; y < blockBottom; ++y) {
        for (int x = blockLeft; x < blockRight; ++x) {
          const size_t i = static_cast<size_t>(y) * static_cast<size_t>(gridWidth) + static_cast<size_t>(x);
          sum += std::abs(static_cast<int>(a[i]) - static_cast<int>(b[i]));
        }
      }
      const int cells = (blockBottom - blockTop) * (blockRight - blockLeft);
      difference.maxBlock = std::max(difference.maxBlock, static_cast<double>(sum) / cells);
      total += sum;
    }
  }
  difference.mean = static_cast<double>(total) / (static_cast<double>(gridWidth) * gridHeight);
  return difference;
}

} // namespace scenebus
