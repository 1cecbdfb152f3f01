#include "capture/ffmpegSizes.h"
#include "capture/frameSource.h"

#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>

#include <algorithm>
#include <cmath>

namespace scenebus::capture {

namespace {

/** A step of the media time beyond this is a cut, not a pause: nobody waits an hour because a recorder's clock jumped.
 */
constexpr double kCutMs = 5000;
/** Media time that comes so much faster than time passes is a clip's, not a camera's. Cameras send a few seconds at
 * once. */
constexpr double kAheadMs = 15'000;
/** A stream that ends this far ahead of time was a clip as well. */
constexpr double kAheadAtEndMs = 1500;

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
        warnAboutRotation(context);
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
  bool isPaced() const override { return mPaced; }
  bool endIsGuess() const override { return !mHasLength; }

private:
  /** A camera's parts carry no tag: OpenCV then gives the first letters of the codec's name, "mjpeg". */
  static bool isMjpeg(int fourcc) {
    return fourcc == cv::VideoWriter::fourcc('M', 'J', 'P', 'G') ||
           fourcc == cv::VideoWriter::fourcc('m', 'j', 'p', 'e');
  }

  static std::string cvBackendName(int backend) {
    return cv::videoio_registry::getBackendName(static_cast<cv::VideoCaptureAPIs>(backend));
  }

  bool tryOpen(const OpenAttempt& attempt, std::string& failure) {
    mCapture.release();
    try {
      const bool opened =
          attempt.deviceIndex >= 0 ? mCapture.open(attempt.deviceIndex, attempt.backend) : openTarget(attempt);
      if (!opened || !mCapture.isOpened()) {
        failure = "could not open it";
        return false;
      }
      // Its direction differs between releases, and other backends do not turn at all: the session does it for all.
      if (attempt.backend == cv::CAP_FFMPEG)
        mCapture.set(cv::CAP_PROP_ORIENTATION_AUTO, 0);
      if (attempt.requestFormat)
        requestFormat();
      mFps = mCapture.get(cv::CAP_PROP_FPS);
      if (!std::isfinite(mFps) || mFps <= 0 || mFps > 1000)
        mFps = 0;
      // A clip served over HTTP mostly has a length and comes as fast as the network; a camera has none.
      mHasLength = mConfig.isFile || (mConfig.mayBeFile && mCapture.get(cv::CAP_PROP_FRAME_COUNT) > 1);
      mPaced = mHasLength;
      // FFmpeg makes up the times of MJPEG: 25 a second, whatever the camera sends.
      mHasTimes = attempt.backend == cv::CAP_FFMPEG && !isMjpeg(static_cast<int>(mCapture.get(cv::CAP_PROP_FOURCC)));
      if (attempt.backend == cv::CAP_FFMPEG)
        FfmpegSizes::listen();
      if (!mCapture.grab() || !mCapture.retrieve(mFirst) || mFirst.empty()) {
        failure = "opened it, but no picture could be decoded";
        mCapture.release();
        return false;
      }
      FfmpegSizes::accept();
      mPositionMs = mCapture.get(cv::CAP_PROP_POS_MSEC);
      mMediaMs = 0;
      mHasFirst = true;
      mNextMediaMs = 0;
      return true;
    } catch (const cv::Exception& error) {
      failure = error.what();
      mCapture.release();
      return false;
    }
  }

  bool openTarget(const OpenAttempt& attempt) {
#if CV_VERSION_MAJOR > 4 || (CV_VERSION_MAJOR == 4 && CV_VERSION_MINOR >= 6)
    // OpenCV's own limit of 30 s is too short for a stream that is started on demand.
    if (attempt.backend == cv::CAP_FFMPEG)
      return mCapture.open(attempt.target, attempt.backend,
                           {cv::CAP_PROP_OPEN_TIMEOUT_MSEC, mConfig.openTimeoutMs, cv::CAP_PROP_READ_TIMEOUT_MSEC,
                            mConfig.readTimeoutMs});
#endif
    return mCapture.open(attempt.target, attempt.backend);
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

  bool grab() {
    if (mHasFirst)
      return true;
    if (!mCapture.grab())
      return false;
    if (!FfmpegSizes::haveChanged())
      return true;
    if (mConfig.isFile)
      throw CaptureError("ERR_CAPTURE_UNSUPPORTED", "its pictures change their size, which OpenCV cannot follow");
    throw CaptureError("ERR_CAPTURE_LOST", "its pictures have another size now, for which it must be opened again");
  }

  void warnAboutRotation(SourceContext& context) {
    if (mAttempt.backend != cv::CAP_FFMPEG)
      return;
    const int degrees = static_cast<int>(mCapture.get(cv::CAP_PROP_ORIENTATION_META));
    if (degrees != 0 && !mConfig.hasOrientation)
      context.warn("this video says that it is to be turned, but not how: set the camera's `rotation`");
  }

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
      const bool first = mHasFirst;
      if (!grab())
        return wasClip() ? ReadOutcome::kEnded : ReadOutcome::kLost;
      ++advance;
      const auto now = Clock::now();
      if (mConfig.mayBeFile && mHasTimes) {
        advanceMediaTime(context, first);
        if (aheadMs() > kAheadMs) { // from here on at its own speed, from the frame that is due
          mPaced = true;
          mStart = now - secondsToDuration(mMediaMs / 1000);
        }
      }
      // A quarter of an interval of tolerance: the camera's clock is not ours.
      if (mInterval > 0 && !mHasFirst && now + secondsToDuration(mInterval / 4000) < mNextDue)
        continue;
      mNextDue = std::max(mNextDue + secondsToDuration(mInterval / 1000), now);
      // Grabbing takes a frame from the driver; decoding or converting it is what costs. A clip keeps its last frame.
      if (isEndless() && !mHasFirst && !context.isWanted())
        continue;
      stampNow(frame);
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
      advanceMediaTime(context, first);
      const double mediaMs = mMediaMs;
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
      stampNow(frame);
      if (!retrieve(frame.pixels))
        continue; // one frame that cannot be converted is no reason to end the clip
      mNextMediaMs = std::max(mNextMediaMs + mInterval, mediaMs + mInterval / 2);
      frame.mediaTimeMs = mediaMs;
      frame.advance = advance;
      return ReadOutcome::kFrame;
    }
  }

  /**
   * Sets `mMediaMs` to the time of the grabbed frame, from 0. Time goes on by one frame where the position jumps (a
   * recorder's clock was set, recordings were joined, a counter began again) or where the backend tells none.
   */
  void advanceMediaTime(SourceContext& context, bool first) {
    if (first)
      return;
    const double intervalMs = 1000 / (mFps > 0 ? mFps : 25);
    const double position = mCapture.get(cv::CAP_PROP_POS_MSEC);
    const double step = position - mPositionMs;
    // 0 is also what is said of frames without a time, such as the last ones that a decoder gives.
    const bool isKnown = std::isfinite(position) && position != 0 && step != 0;
    if (isKnown && step < 0 && step > -1000)
      return; // frames out of order: the time stands until the position has caught up
    const bool isCut = isKnown && (step < 0 || step > std::max(kCutMs, 3 * intervalMs));
    mMediaMs += isKnown && !isCut ? step : intervalMs;
    if (isKnown)
      mPositionMs = position;
    if (isCut && !mToldCut)
      context.warn("its time stamps jump by " + std::to_string(static_cast<int64_t>(step / 1000)) +
                   " s: taken as a cut, as all further jumps are");
    mToldCut = mToldCut || isCut;
  }

  bool isEndless() const {
    return !(mConfig.mayBeFile && mHasTimes);
  }

  double aheadMs() const {
    return mMediaMs - std::chrono::duration<double, std::milli>(Clock::now() - mStart).count();
  }

  /** Whether a stream without a length was a recording: it came faster than time passes. */
  bool wasClip() const {
    return mPaced || (mConfig.mayBeFile && mHasTimes && aheadMs() > kAheadAtEndMs);
  }

  Clock::duration frameInterval() const {
    return secondsToDuration(1 / (mFps > 0 ? mFps : 25));
  }

  /** Opens the clip again: seeking to 0 is not exact in every container. The last frame keeps its time on screen. */
  void restart() {
    const auto resume = mStart + secondsToDuration(mMediaMs / 1000) + frameInterval();
    std::string failure;
    if (!tryOpen(mAttempt, failure))
      throw CaptureError("ERR_CAPTURE_LOST", "the clip could be read once, but not again: " + failure);
    mStart = std::max(resume, Clock::now() - frameInterval());
  }

  static constexpr uint64_t kMostSkipped = 8;

  CaptureConfig mConfig;
  double mInterval; // wanted distance between frames, ms; 0 = every frame
  cv::VideoCapture mCapture;
  OpenAttempt mAttempt;
  bool mPaced = false;
  bool mHasLength = false;
  double mFps = 0;
  cv::Mat mFirst;
  bool mHasFirst = false;
  bool mHasTimes = false; // the positions are the source's own
  bool mToldCut = false;
  double mPositionMs = 0; // of the last grabbed frame, as OpenCV says
  double mMediaMs = 0;    // of the same frame, from 0 and without jumps
  double mNextMediaMs = 0;
  Clock::time_point mStart;
  Clock::time_point mNextDue;
};

} // namespace

std::unique_ptr<FrameSource> createVideoSource(const CaptureConfig& config) {
  return std::make_unique<VideoSource>(config);
}

} // namespace scenebus::capture
