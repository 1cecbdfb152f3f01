#pragma once
#include <opencv2/core.hpp>

#include <cstdint>

namespace scenebus::capture {

/** From a source's picture to a slot of the ring: bgr8, scaled down to fit, mirrored, rotated. */
class FrameTransform {
public:
  /** fitWidth × fitHeight before rotation, 0 = any; mirror swaps left and right first; rotation in degrees clockwise.
   */
  FrameTransform(int fitWidth, int fitHeight, bool mirror, int rotation)
      : mFitWidth(fitWidth), mFitHeight(fitHeight), mMirror(mirror), mRotation(rotation) {}

  /** Size of the frame that this picture becomes. Throws CaptureError for a picture beyond the limits. */
  cv::Size outputSize(const cv::Mat& picture) const;
  /** target: `[height, width, 3]` of outputSize(picture). */
  void apply(const cv::Mat& picture, uint8_t* target);

private:
  cv::Size scaledSize(const cv::Mat& picture) const;

  int mFitWidth;
  int mFitHeight;
  bool mMirror;
  int mRotation;
  cv::Mat mEightBit; // kept between frames: no allocation while the size stays
  cv::Mat mBgr;
  cv::Mat mScaled;
  cv::Mat mMirrored;
};

} // namespace scenebus::capture
