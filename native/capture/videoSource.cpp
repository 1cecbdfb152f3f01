#include "capture/frameSource.h"

#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>

#include <algorithm>
#include <cmath>

namespace scenebus::capture {

namespace {

/**
 * cv::VideoCapture behind any backend. Live sources give frames as they come; files are paced by their media time, and
 * frames that are late or beyond the wanted rate are grabbed but not converted.
 */
class VideoSource final : public FrameSource {
public:
  explicit VideoSource(const CaptureConfig& config)
      : mConfig(config), mInterval(config.requestFps > 0 ? 1000 / config.requestFps : 0) {}

  void open(SourceContext& context) override {
    std::string failures;
    for (const OpenAttempt& attempt : mConfig.attempts) {
      if (context.stopping())
        return;
      std::string failure;
      if (tryOpen(attempt, failure)) {
        mAttempt = attempt;
        mStart = Clock::now();
        return;
      }
      failures += (failures.empty() ? "" : "; ") + cvBackendName(attempt.backend) + ": " + failure;
    }
    throw CaptureError("ERR_CAPTURE_UNSUPPORTED", failures.empty() ? "no OpenCV backend is left to try" : failures);
  }

  ReadOutcome read(SourceContext& context, SourceFrame& frame) override {
    return mPaced ? readPaced(context, frame) : readLive(context, frame);
  }

  double framesPerSecond() const override {
    return mConfig.requestFps > 0 && (mFps <= 0 || mConfig.requestFps < mFps) ? mConfig.requestFps : mFps;
  }
  std::string backendName() const override { return cvBackendName(mAttempt.backend); }

private:
  static std::string cvBackendName(int backend) {
    return cv::videoio_registry::getBackendName(static_cast<cv::VideoCaptureAPIs>(backend));
  }

  bool tryOpen(const OpenAttempt& attempt, std::string& failure) {
    mCapture.release();
    try {
      const bool opened = attempt.deviceIndex >= 0 ? mCapture.open(attempt.deviceIndex, attempt.backend)
                                                   : mCapture.open(attempt.target, attempt.backend);
      if (!opened || !mCapture.isOpened()) {
        failure = "could not open it";
        return false;
      }
      if (attempt.requestFormat)
        requestFormat();
      mFps = mCapture.get(cv::CAP_PROP_FPS);
      if (!std::isfinite(mFps) || mFps <= 0 || mFps > 1000)
        mFps = 0;
      // A clip served over HTTP has a length and comes as fast as the network; a camera has none.
      mPaced = mConfig.isFile || (mConfig.mayBeFile && mCapture.get(cv::CAP_PROP_FRAME_COUNT) > 1);
      if (!mCapture.grab() || !mCapture.retrieve(mFirst) || mFirst.empty()) {
        failure = "opened it, but no picture could be decoded";
        mCapture.release();
        return false;
      }
      mFirstMediaMs = mCapture.get(cv::CAP_PROP_POS_MSEC);
      mHasFirst = true;
      mFrameIndex = 0;
      mNextMediaMs = 0;
      return true;
    } catch (const cv::Exception& error) {
      failure = error.what();
      mCapture.release();
      return false;
    }
  }

  /** What a driver refuses it leaves as it was. Compressed first: USB 2 carries 720p at full rate only so. */
  void requestFormat() {
    mCapture.set(cv::CAP_PROP_FOURCC, cv::VideoWriter::fourcc('M', 'J', 'P', 'G'));
    if (mConfig.requestWidth > 0 && mConfig.requestHeight > 0) {
      mCapture.set(cv::CAP_PROP_FRAME_WIDTH, mConfig.requestWidth);
      mCapture.set(cv::CAP_PROP_FRAME_HEIGHT, mConfig.requestHeight);
    }
    if (mConfig.requestFps > 0)
      mCapture.set(cv::CAP_PROP_FPS, mConfig.requestFps);
    mCapture.set(cv::CAP_PROP_BUFFERSIZE, 1);
  }

  bool grab() { return mHasFirst || mCapture.grab(); }

  bool retrieve(cv::Mat& pixels) {
    if (mHasFirst) {
      mHasFirst = false;
      pixels = mFirst;
      mFirst.release();
      return true;
    }
    return mCapture.retrieve(pixels) && !pixels.empty();
  }

  ReadOutcome readLive(SourceContext& context, SourceFrame& frame) {
    uint64_t advance = 0;
    for (;;) {
      if (context.stopping())
        return ReadOutcome::kStopped;
      if (!grab())
        return ReadOutcome::kLost;
      ++advance;
      const auto now = Clock::now();
      // A quarter of an interval of tolerance: the camera's clock is not ours.
      if (mInterval > 0 && !mHasFirst && now + secondsToDuration(mInterval / 4000) < mNextDue)
        continue;
      mNextDue = std::max(mNextDue + secondsToDuration(mInterval / 1000), now);
      frame.capturedAtUs = unixTimeUs();
      if (!retrieve(frame.pixels))
        return ReadOutcome::kLost;
      frame.mediaTimeMs = -1;
      frame.advance = advance;
      return ReadOutcome::kFrame;
    }
  }

  ReadOutcome readPaced(SourceContext& context, SourceFrame& frame) {
    uint64_t advance = 0;
    for (;;) {
      if (context.stopping())
        return ReadOutcome::kStopped;
      const bool first = mHasFirst;
      if (!grab()) {
        if (!mConfig.loop)
          return ReadOutcome::kEnded;
        restart();
        continue;
      }
      ++advance;
      const double mediaMs = first ? 0 : mediaTimeMs();
      ++mFrameIndex;
      mLastMediaMs = mediaMs;
      if (mInterval > 0 && !first && mediaMs + 1 < mNextMediaMs)
        continue;
      auto due = mStart + secondsToDuration(mediaMs / 1000);
      const auto late = Clock::now() - due;
      if (late > std::chrono::seconds(1)) {
        mStart += late; // decoding cannot keep up, or the process was stopped for a while: go on from here
      } else if (late > frameInterval() && advance < kMostSkipped) {
        continue;
      }
      due = mStart + secondsToDuration(mediaMs / 1000);
      if (!context.waitUntil(due))
        return ReadOutcome::kStopped;
      frame.capturedAtUs = unixTimeUs();
      if (!retrieve(frame.pixels))
        continue; // one frame that cannot be converted is no reason to end the clip
      mNextMediaMs = std::max(mNextMediaMs + mInterval, mediaMs + mInterval / 2);
      frame.mediaTimeMs = mediaMs;
      frame.advance = advance;
      return ReadOutcome::kFrame;
    }
  }

  /** Position of the grabbed frame, from 0; from the frame count where the backend does not tell. */
  double mediaTimeMs() {
    const double position = mCapture.get(cv::CAP_PROP_POS_MSEC) - mFirstMediaMs;
    if (std::isfinite(position) && position > mLastMediaMs)
      return position;
    return std::max(mLastMediaMs, static_cast<double>(mFrameIndex) * 1000 / (mFps > 0 ? mFps : 25));
  }

  Clock::duration frameInterval() const { return secondsToDuration(1 / (mFps > 0 ? mFps : 25)); }

  /** Opens the clip again: seeking to 0 is not exact in every container. The last frame keeps its time on screen. */
  void restart() {
    const auto resume = mStart + secondsToDuration(mLastMediaMs / 1000) + frameInterval();
    std::string failure;
    if (!tryOpen(mAttempt, failure))
      throw CaptureError("ERR_CAPTURE_LOST", "the clip could be read once, but not again: " + failure);
    mLastMediaMs = 0;
    mStart = std::max(resume, Clock::now() - frameInterval());
  }

  static constexpr uint64_t kMostSkipped = 8;

  CaptureConfig mConfig;
  double mInterval; // wanted distance between frames, ms; 0 = every frame
  cv::VideoCapture mCapture;
  OpenAttempt mAttempt;
  bool mPaced = false;
  double mFps = 0;
  cv::Mat mFirst;
  bool mHasFirst = false;
  uint64_t mFrameIndex = 0;
  double mFirstMediaMs = 0;
  double mLastMediaMs = 0;
  double mNextMediaMs = 0;
  Clock::time_point mStart;
  Clock::time_point mNextDue;
};

} // namespace

std::unique_ptr<FrameSource> createVideoSource(const CaptureConfig& config) {
  return std::make_unique<VideoSource>(config);
}

} // namespace scenebus::capture
