#include "capture/frameTransform.h"

#include "capture/captureConfig.h"
#include "capture/frameRing.h"

#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>

namespace scenebus::capture {

cv::Size FrameTransform::scaledSize(const cv::Mat& picture) const {
  if (mFitWidth <= 0 || mFitHeight <= 0)
    return picture.size();
  const double scale =
      std::min({1.0, static_cast<double>(mFitWidth) / picture.cols, static_cast<double>(mFitHeight) / picture.rows});
  return {std::max(1, static_cast<int>(std::lround(picture.cols * scale))),
          std::max(1, static_cast<int>(std::lround(picture.rows * scale)))};
}

cv::Size FrameTransform::outputSize(const cv::Mat& picture) const {
  const cv::Size scaled = scaledSize(picture);
  const auto width = static_cast<uint64_t>(scaled.width);
  const auto height = static_cast<uint64_t>(scaled.height);
  if (width > kMaxSide || height > kMaxSide || frameBytes(width, height) > kMaxFrameBytes)
    throw CaptureError("ERR_CAPTURE_UNSUPPORTED", "a picture of " + std::to_string(width) + "x" +
                                                      std::to_string(height) + " is too large: ask for a smaller size");
  return mRotation == 90 || mRotation == 270 ? cv::Size(scaled.height, scaled.width) : scaled;
}

void FrameTransform::apply(const cv::Mat& picture, uint8_t* target) {
  const cv::Mat* source = &picture;
  if (picture.depth() != CV_8U) {
    picture.convertTo(mEightBit, CV_8U, picture.depth() == CV_16U ? 1.0 / 257 : 1.0);
    source = &mEightBit;
  }
  if (source->channels() != 3) {
    if (source->channels() != 1 && source->channels() != 4)
      throw CaptureError("ERR_CAPTURE_UNSUPPORTED",
                         "a picture with " + std::to_string(source->channels()) + " channels cannot be shown as BGR");
    cv::cvtColor(*source, mBgr, source->channels() == 1 ? cv::COLOR_GRAY2BGR : cv::COLOR_BGRA2BGR);
    source = &mBgr;
  }
  // Every step below finds the target with its final size and type, so OpenCV writes in place.
  const cv::Size size = outputSize(picture);
  cv::Mat slot(size, CV_8UC3, target);
  const cv::Size scaled = scaledSize(picture);
  if (scaled != source->size()) {
    cv::Mat& destination = mRotation == 0 && !mMirror ? slot : mScaled;
    cv::resize(*source, destination, scaled, 0, 0, cv::INTER_AREA);
    source = &destination;
  }
  if (mMirror) {
    cv::Mat& destination = mRotation == 0 ? slot : mMirrored;
    cv::flip(*source, destination, 1);
    source = &destination;
  }
  if (mRotation != 0) {
    cv::rotate(*source, slot,
               mRotation == 90    ? cv::ROTATE_90_CLOCKWISE
               : mRotation == 180 ? cv::ROTATE_180
                                  : cv::ROTATE_90_COUNTERCLOCKWISE);
  } else if (source->data != target) {
    source->copyTo(slot);
  }
}

} // namespace scenebus::capture
