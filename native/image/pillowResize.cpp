#include "image/pillowResize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "common/vectorize.h"

namespace scenebus {

namespace {

constexpr int kPrecisionBits = 22;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);
constexpr int kChannels = PillowResize::kChannels;

/** Rows handled together by the horizontal pass, one vector lane each. */
constexpr int kLanes = 16;

inline uint8_t toByte(int32_t fixedPoint) {
  return static_cast<uint8_t>(std::clamp(fixedPoint >> kPrecisionBits, 0, 255));
}

/** `[rows, bytes]` to `[bytes, kLanes]`; lanes beyond `rows` keep what they hold. */
void interleaveRows(const uint8_t* source, size_t strideBytes, int rows, int bytes, uint8_t* lanes) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* row = source + static_cast<size_t>(r) * strideBytes;
    for (int i = 0; i < bytes; ++i)
      lanes[static_cast<size_t>(i) * kLanes + static_cast<size_t>(r)] = row[i];
  }
}

/** `lanes`: `[width, 3, kLanes]` to `out`: `[newWidth, 3, kLanes]`. */
SCENEBUS_VECTORIZED void resizeLanes(const uint8_t* lanes, const ResampleSpan* spans, const int32_t* allWeights,
                                     int newWidth, uint8_t* out) {
  constexpr int kPixelLanes = kChannels * kLanes;
  for (int x = 0; x < newWidth; ++x) {
    const ResampleSpan span = spans[x];
    const int32_t* weights = allWeights + span.weightOffset;
    const uint8_t* samples = lanes + static_cast<size_t>(span.first) * kPixelLanes;
    int32_t sums[kPixelLanes];
    for (int r = 0; r < kPixelLanes; ++r)
      sums[r] = kHalf + weights[0] * samples[r];
    for (int i = 1; i < span.count; ++i) {
      samples += kPixelLanes;
      for (int r = 0; r < kPixelLanes; ++r)
        sums[r] += weights[i] * samples[r];
    }
    uint8_t* target = out + static_cast<size_t>(x) * kPixelLanes;
    for (int r = 0; r < kPixelLanes; ++r)
      target[r] = toByte(sums[r]);
  }
}

SCENEBUS_VECTORIZED void startSums(int32_t* sums, const uint8_t* samples, int32_t weight, int count) {
  for (int i = 0; i < count; ++i)
    sums[i] = kHalf + weight * samples[i];
}

SCENEBUS_VECTORIZED void addToSums(int32_t* sums, const uint8_t* samples, int32_t weight, int count) {
  for (int i = 0; i < count; ++i)
    sums[i] += weight * samples[i];
}

SCENEBUS_VECTORIZED void sumsToBytes(const int32_t* sums, uint8_t* bytes, int count) {
  for (int i = 0; i < count; ++i)
    bytes[i] = toByte(sums[i]);
}

} // namespace

ResampleKernel makeBilinearKernel(int inputSize, int outputSize) {
  ResampleKernel kernel;
  kernel.spans.resize(static_cast<size_t>(outputSize));
  const double scale = static_cast<double>(inputSize) / outputSize;
  const double support = std::max(scale, 1.0);
  const double inverse = 1.0 / support;
  std::vector<double> triangle;
  for (int x = 0; x < outputSize; ++x) {
    const double center = (x + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(inputSize, static_cast<int>(center + support + 0.5));
    triangle.clear();
    double total = 0.0;
    for (int i = first; i < last; ++i) {
      const double weight = std::max(0.0, 1.0 - std::abs((i - center + 0.5) * inverse));
      triangle.push_back(weight);
      total += weight;
    }
    kernel.spans[static_cast<size_t>(x)] = {first, last - first, static_cast<int>(kernel.weights.size())};
    for (const double weight : triangle)
      kernel.weights.push_back(static_cast<int32_t>(weight / total * (1 << kPrecisionBits) + 0.5));
  }
  return kernel;
}

PillowResize::PillowResize(const uint8_t* pixels, int width, int height, int newWidth, int newHeight)
    : mNewWidth(newWidth), mVerticalPass(newHeight != height), mRows(pixels) {
  if (newWidth != width) {
    resizeHorizontally(pixels, width, height);
    mRows = mHorizontal.data();
  }
  if (mVerticalPass) {
    mVertical = makeBilinearKernel(height, newHeight);
    mAccumulators.resize(static_cast<size_t>(newWidth) * kChannels);
    mRow.resize(mAccumulators.size());
  }
}

const uint8_t* PillowResize::horizontalRow(int y) const {
  return mRows + static_cast<size_t>(y) * static_cast<size_t>(mNewWidth) * kChannels;
}

void PillowResize::resizeHorizontally(const uint8_t* pixels, int width, int height) {
  const ResampleKernel kernel = makeBilinearKernel(width, mNewWidth);
  const size_t sourceStride = static_cast<size_t>(width) * kChannels;
  const size_t targetStride = static_cast<size_t>(mNewWidth) * kChannels;
  mHorizontal.resize(static_cast<size_t>(height) * targetStride);
  std::vector<uint8_t> lanes(sourceStride * kLanes);
  std::vector<uint8_t> resized(targetStride * kLanes);
  for (int y = 0; y < height; y += kLanes) {
    const int rows = std::min(kLanes, height - y);
    interleaveRows(pixels + static_cast<size_t>(y) * sourceStride, sourceStride, rows, width * kChannels, lanes.data());
    resizeLanes(lanes.data(), kernel.spans.data(), kernel.weights.data(), mNewWidth, resized.data());
    for (int r = 0; r < rows; ++r) {
      uint8_t* target = mHorizontal.data() + static_cast<size_t>(y + r) * targetStride;
      for (size_t i = 0; i < targetStride; ++i)
        target[i] = resized[i * kLanes + static_cast<size_t>(r)];
    }
  }
}

const uint8_t* PillowResize::row(int y) {
  if (!mVerticalPass)
    return horizontalRow(y);
  const ResampleSpan span = mVertical.spans[static_cast<size_t>(y)];
  const int32_t* weights = mVertical.weights.data() + span.weightOffset;
  const int count = mNewWidth * kChannels;
  startSums(mAccumulators.data(), horizontalRow(span.first), weights[0], count);
  for (int i = 1; i < span.count; ++i)
    addToSums(mAccumulators.data(), horizontalRow(span.first + i), weights[i], count);
  sumsToBytes(mAccumulators.data(), mRow.data(), count);
  return mRow.data();
}

} // namespace scenebus
