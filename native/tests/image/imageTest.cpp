// native/image against plain references: slow, obvious, written from the specification and not from the product.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/support/checks.h"
#include "image/changeMeasure.h"
#include "image/imageProcessor.h"
#include "image/pillowResize.h"
#include "image/swapChannels.h"
#include "image/tileLayout.h"

using namespace scenebus;

namespace {

struct Picture {
  int width;
  int height;
  std::vector<uint8_t> bytes;
  uint8_t at(int x, int y, int c) const {
    return bytes[(static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3 +
                 static_cast<size_t>(c)];
  }
};

Picture makePicture(int width, int height, uint32_t seed) {
  Picture picture{width, height, {}};
  picture.bytes.resize(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  for (auto& byte : picture.bytes) {
    seed = seed * 1664525u + 1013904223u;
    // Extremes often: they are where clamping and rounding go wrong.
    byte = (seed >> 30) == 0 ? 0 : (seed >> 30) == 1 ? 255 : static_cast<uint8_t>(seed >> 20);
  }
  return picture;
}

/** One sample of one axis, float64 weights made anew each time. `get(i)` is the input. */
template <typename Get> uint8_t resample(int in, int out, int x, Get get) {
  const double scale = static_cast<double>(in) / out;
  const double f = std::max(scale, 1.0);
  const double c = (x + 0.5) * scale;
  const int lo = std::max(0, static_cast<int>(std::trunc(c - f + 0.5)));
  const int hi = std::min(in, static_cast<int>(std::trunc(c + f + 0.5)));
  double sum = 0;
  for (int i = lo; i < hi; ++i)
    sum += std::max(0.0, 1.0 - std::abs(i - c + 0.5) / f);
  int64_t total = int64_t{1} << 21;
  for (int i = lo; i < hi; ++i)
    total += static_cast<int64_t>(std::trunc(std::max(0.0, 1.0 - std::abs(i - c + 0.5) / f) / sum * 4194304.0 + 0.5)) *
             get(i);
  return static_cast<uint8_t>(std::clamp<int64_t>(total >> 22, 0, 255));
}

Picture referenceResize(const Picture& source, int newWidth, int newHeight) {
  Picture middle{newWidth, source.height, {}};
  for (int y = 0; y < source.height; ++y)
    for (int x = 0; x < newWidth; ++x)
      for (int c = 0; c < 3; ++c)
        middle.bytes.push_back(newWidth == source.width ? source.at(x, y, c)
                                                        : resample(source.width, newWidth, x,
                                                                   [&](int i) { return source.at(i, y, c); }));
  Picture result{newWidth, newHeight, {}};
  for (int y = 0; y < newHeight; ++y)
    for (int x = 0; x < newWidth; ++x)
      for (int c = 0; c < 3; ++c)
        result.bytes.push_back(newHeight == source.height
                                   ? middle.at(x, y, c)
                                   : resample(source.height, newHeight, y, [&](int i) { return middle.at(x, i, c); }));
  return result;
}

std::vector<std::pair<int, int>> arrangementsOf(int maxTiles) {
  std::vector<std::pair<int, int>> pairs;
  for (int rows = 1; rows <= maxTiles; ++rows)
    for (int columns = 1; rows * columns <= maxTiles; ++columns)
      pairs.emplace_back(rows, columns);
  return pairs;
}

TEST_CASE("resize: the bytes of the plain reference, for sizes around every lane and axis boundary") {
  const std::vector<std::pair<int, int>> sources = {{1, 1}, {1, 40}, {40, 1}, {15, 16}, {16, 17}, {17, 33}, {64, 48}};
  const std::vector<std::pair<int, int>> targets = {{1, 1}, {2, 3}, {15, 15}, {16, 33}, {40, 40}, {64, 48}, {97, 5}};
  for (const auto& [width, height] : sources) {
    for (const auto& [newWidth, newHeight] : targets) {
      const Picture source = makePicture(width, height, static_cast<uint32_t>(width * 131 + newHeight));
      const Picture expected = referenceResize(source, newWidth, newHeight);
      PillowResize resize(source.bytes.data(), width, height, newWidth, newHeight);
      for (int y = 0; y < newHeight; ++y) {
        const auto rowBytes = static_cast<size_t>(newWidth) * 3;
        const bool same = std::memcmp(resize.row(y), expected.bytes.data() + static_cast<size_t>(y) * rowBytes, rowBytes) == 0;
        CHECK_MESSAGE(same, "%dx%d to %dx%d, row %d", width, height, newWidth, newHeight, y);
      }
    }
  }
}

TEST_CASE("resize: weights of every output sample lie inside the input and sum to one") {
  for (const auto& [in, out] : std::vector<std::pair<int, int>>{{1, 7}, {7, 1}, {16384, 560}, {560, 561}, {561, 560}, {3, 2240}}) {
    const ResampleKernel kernel = makeBilinearKernel(in, out);
    CHECK(kernel.spans.size() == static_cast<size_t>(out));
    for (const ResampleSpan& span : kernel.spans) {
      CHECK(span.first >= 0 && span.count > 0 && span.first + span.count <= in);
      int64_t sum = 0;
      for (int i = 0; i < span.count; ++i)
        sum += kernel.weights[static_cast<size_t>(span.weightOffset + i)];
      CHECK(std::llabs(sum - (1 << 22)) <= span.count);
    }
  }
}

TEST_CASE("layout: the rule of the specification, for thousands of sizes") {
  for (const int maxTiles : {1, 2, 4, 6}) {
    const auto pairs = arrangementsOf(maxTiles);
    for (const int tile : {56, 560}) {
      for (int width = 1; width < 5 * tile; width += 1 + width / 7) {
        for (int height = 1; height < 5 * tile; height += 1 + height / 7) {
          std::vector<double> scales;
          for (const auto& [rows, columns] : pairs)
            scales.push_back(std::min(static_cast<double>(rows * tile) / height, static_cast<double>(columns * tile) / width));
          double best = -1;
          for (const double s : scales)
            if (s >= 1 && (best < 0 || s < best))
              best = s;
          if (best < 0)
            best = *std::max_element(scales.begin(), scales.end());
          size_t chosen = pairs.size();
          for (size_t i = 0; i < pairs.size(); ++i)
            if (scales[i] == best && (chosen == pairs.size() || pairs[i].first * pairs[i].second <
                                                                     pairs[chosen].first * pairs[chosen].second))
              chosen = i;
          const TileLayout layout = chooseTileLayout(width, height, tile, pairs);
          CHECK_MESSAGE(layout.aspectRatioId == static_cast<int>(chosen) + 1, "%dx%d", width, height);
          CHECK(layout.resizedWidth >= 1 && layout.resizedWidth <= layout.columns * tile);
          CHECK(layout.resizedHeight >= 1 && layout.resizedHeight <= layout.rows * tile);
        }
      }
    }
  }
}

TEST_CASE("tiles: padding is normalised black, every element is written, BGR is RGB swapped") {
  constexpr int kTile = 14;
  const Picture source = makePicture(33, 11, 5);
  std::vector<uint8_t> swapped = source.bytes;
  for (size_t i = 0; i < swapped.size(); i += 3)
    std::swap(swapped[i], swapped[i + 2]);
  const TileLayout layout = chooseTileLayout(33, 11, kTile, arrangementsOf(4));
  const Normalization normalization{1.0 / 255, {0.5, 0.25, 0.125}, {0.5, 0.25, 2.0}};
  const size_t elements = tileElements(kTile) * static_cast<size_t>(layout.numTiles());
  std::vector<float> rgb(elements, -99.0F);
  std::vector<float> bgr(elements, -99.0F);
  std::vector<uint8_t> bytes(elements, 0);
  fillTiles({source.bytes.data(), 33, 11, false}, layout, kTile, normalization, rgb.data(), bytes.data());
  fillTiles({swapped.data(), 33, 11, true}, layout, kTile, normalization, bgr.data(), nullptr);
  CHECK(rgb == bgr);
  const Picture resized = referenceResize(source, layout.resizedWidth, layout.resizedHeight);
  for (int y = 0; y < layout.rows * kTile; ++y) {
    for (int x = 0; x < layout.columns * kTile; ++x) {
      for (int c = 0; c < 3; ++c) {
        const bool inside = x < layout.resizedWidth && y < layout.resizedHeight;
        const uint8_t byte = inside ? resized.at(x, y, c) : 0;
        const auto tile = static_cast<size_t>(y / kTile * layout.columns + x / kTile);
        const size_t index = ((tile * 3 + static_cast<size_t>(c)) * kTile + static_cast<size_t>(y % kTile)) * kTile +
                             static_cast<size_t>(x % kTile);
        const auto channel = static_cast<size_t>(c);
        const float expected = (static_cast<float>(byte * (1.0 / 255)) - static_cast<float>(normalization.mean[channel])) /
                               static_cast<float>(normalization.std[channel]);
        CHECK(bytes[index] == byte);
        CHECK(rgb[index] == expected);
      }
    }
  }
}

TEST_CASE("change: thumbnails of any size stay inside the image, and differences are exact") {
  for (const auto& [width, height] : std::vector<std::pair<int, int>>{{1, 1}, {2, 3}, {63, 35}, {64, 36}, {65, 37}, {1000, 7}}) {
    const Picture picture = makePicture(width, height, 11);
    std::vector<uint8_t> thumbnail(64 * 36);
    greyThumbnail(picture.bytes.data(), width, height, false, 64, 36, thumbnail.data());
    CHECK(compareThumbnails(thumbnail.data(), thumbnail.data(), 64, 36, 4).maxBlock == 0.0);
  }
  std::vector<uint8_t> a(64 * 36, 100);
  std::vector<uint8_t> b = a;
  b[63 + 64 * 35] = 20; // the last cell, in a block cut short when the block is 5
  const ThumbnailDifference difference = compareThumbnails(a.data(), b.data(), 64, 36, 5);
  CHECK(std::abs(difference.mean - 80.0 / (64 * 36)) < 1e-12);
  CHECK(std::abs(difference.maxBlock - 80.0 / (4 * 1)) < 1e-12);
}

TEST_CASE("channels: red and blue change places in every pixel, whatever their number and place in memory") {
  for (const size_t pixels : {0, 1, 2, 3, 4, 5, 7, 8, 101}) {
    const Picture picture = makePicture(static_cast<int>(pixels) + 1, 1, 7);
    std::vector<uint8_t> swapped(pixels * 3 + 2, 99);
    copySwapped(picture.bytes.data() + 1, swapped.data() + 1, pixels);
    for (size_t i = 0; i < pixels * 3; ++i)
      CHECK(swapped[1 + i] == picture.bytes[1 + i / 3 * 3 + 2 - i % 3]);
    CHECK(swapped.front() == 99 && swapped.back() == 99);
  }
}

TEST_CASE("change: no more than 8 x 8 pixels of a cell count, spread over all of it") {
  for (const int size : {1, 5, 8, 9, 15, 16, 17, 63, 64}) {
    Picture picture{size, size, std::vector<uint8_t>(static_cast<size_t>(size) * static_cast<size_t>(size) * 3)};
    int counted = 0, last = 0;
    for (int i = 0; i < size * size; ++i) {
      uint8_t* pixel = picture.bytes.data() + static_cast<size_t>(i) * 3;
      std::fill(pixel, pixel + 3, uint8_t{255});
      uint8_t grey = 0;
      greyThumbnail(picture.bytes.data(), size, size, false, 1, 1, &grey);
      std::fill(pixel, pixel + 3, uint8_t{0});
      if (grey > 0) {
        ++counted;
        last = i;
      }
    }
    const int least = std::min(size, 5);
    CHECK_MESSAGE(counted <= 64 && counted >= least * least, "%d pixels of %d x %d", counted, size, size);
    CHECK_MESSAGE(size - last / size <= 8 && size - last % size <= 8, "the last is %d of %d x %d", last, size, size);
  }
}

} // namespace
