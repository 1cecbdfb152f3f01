#pragma once
#include <cstdint>
#include <vector>

namespace scenebus {

/** Which input samples make one output sample, and with what weights. */
struct ResampleSpan {
  int first = 0;        // index of the first input sample
  int count = 0;        // number of input samples
  int weightOffset = 0; // into ResampleKernel::weights
};

/** Weights of one axis in fixed point, 22 fractional bits; a span's weights sum to about 2^22. */
struct ResampleKernel {
  std::vector<ResampleSpan> spans; // [outputSize]
  std::vector<int32_t> weights;
};

/** Pillow's BILINEAR: a triangle whose support grows with the reduction, computed in float64. */
ResampleKernel makeBilinearKernel(int inputSize, int outputSize);

/**
 * Resizes 8-bit interleaved pixels, 3 channels, to the same bytes as Pillow's BILINEAR: horizontally first, rounded to
 * 8 bits, then vertically; an axis whose size does not change is skipped.
 *
 * Rows are made one at a time, in order, so that a caller that consumes them needs no resized image.
 */
class PillowResize {
public:
  static constexpr int kChannels = 3;

  /** `pixels`: `[height, width, 3]`, borrowed for the lifetime of this object. All sizes > 0. */
  PillowResize(const uint8_t* pixels, int width, int height, int newWidth, int newHeight);

  /** Output row `y`: `[newWidth, 3]`. Valid until the next call. */
  const uint8_t* row(int y);

private:
  const uint8_t* horizontalRow(int y) const;
  void resizeHorizontally(const uint8_t* pixels, int width, int height);

  int mNewWidth;
  bool mVerticalPass;
  const uint8_t* mRows;               // `[height, newWidth, 3]`: the source or mHorizontal
  std::vector<uint8_t> mHorizontal;   // empty when the width does not change
  ResampleKernel mVertical;           // empty when the height does not change
  std::vector<int32_t> mAccumulators; // [newWidth * 3]
  std::vector<uint8_t> mRow;          // [newWidth * 3]
};

} // namespace scenebus
