#include "capture/frameSource.h"
#include "capture/testPattern.h"

#include <opencv2/imgproc.hpp>

#include <chrono>
#include <cstdlib>
#include <thread>

namespace scenebus::capture {

namespace {

/**
 * Built-in patterns, for tests and for trying a set-up without a camera.
 * checker: see testPattern.h. moving: a numbered frame with a red square that crosses it. clock: the same, and when it
 * was drawn, for who wants to know how old a picture is that a screen shows (drawTimeCode in testPattern.h).
 * hang, die, end: checker for `patternFrames` frames, then block for ever, abort the process, or end like a file.
 * freeze: checker for `patternFrames` frames, then the last one again and again. still: always the same picture.
 */
class TestSource final : public FrameSource {
public:
  explicit TestSource(const CaptureConfig& config)
      : mPattern(config.pattern), mLimit(config.patternFrames), mFps(config.requestFps > 0 ? config.requestFps : 30),
        mNumber(config.firstSequence),
        mPixels(config.requestHeight > 0 ? config.requestHeight : 480,
                config.requestWidth > 0 ? config.requestWidth : 640, CV_8UC3, cv::Scalar::all(0)) {}

  void open(SourceContext&) override { mDue = Clock::now(); }

  ReadOutcome read(SourceContext& context, SourceFrame& frame) override {
    if (mDelivered == mLimit) {
      if (mPattern == "hang") {
        for (;;)
          std::this_thread::sleep_for(std::chrono::hours(1)); // deliberately deaf, like a driver stuck in the kernel
      }
      if (mPattern == "die")
        std::abort();
      if (mPattern == "end")
        return ReadOutcome::kEnded;
    }
    for (uint64_t advance = 1;; ++advance) {
      if (!context.waitUntil(mDue))
        return ReadOutcome::kStopped;
      mDue += secondsToDuration(1 / mFps);
      frame.advance = advance;
      if (mPattern != "still" && mPattern != "moving" && mPattern != "clock")
        break; // counted by their frames
      if (mDelivered == 0 || context.isWanted())
        break;
      ++mNumber;
      ++mDelivered;
    }
    if (mPattern == "moving")
      drawMoving();
    else if (mPattern == "clock")
      drawClock();
    else if (mPattern == "still") {
      if (mDelivered == 0)
        drawChecker(mPixels.data, static_cast<uint32_t>(mPixels.cols), static_cast<uint32_t>(mPixels.rows), 1);
    } else if (mPattern != "freeze" || mDelivered < mLimit)
      drawChecker(mPixels.data, static_cast<uint32_t>(mPixels.cols), static_cast<uint32_t>(mPixels.rows), mNumber);
    frame.pixels = mPixels;
    stampNow(frame);
    ++mNumber;
    ++mDelivered;
    return ReadOutcome::kFrame;
  }

  double framesPerSecond() const override { return mFps; }
  std::string backendName() const override { return "built in"; }

private:
  void drawMoving() {
    mPixels.setTo(cv::Scalar(64, 64, 64));
    const int side = std::max(8, std::min(mPixels.cols, mPixels.rows) / 4);
    const int travel = std::max(1, mPixels.cols - side);
    const int left = static_cast<int>(mNumber * 4 % static_cast<uint64_t>(travel));
    cv::rectangle(mPixels, cv::Rect(left, (mPixels.rows - side) / 2, side, side), cv::Scalar(0, 0, 255), cv::FILLED);
    cv::putText(mPixels, std::to_string(mNumber), cv::Point(8, mPixels.rows - 8), cv::FONT_HERSHEY_SIMPLEX, 1,
                cv::Scalar(255, 255, 255), 2);
  }

  void drawClock() {
    drawMoving();
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto wallMs = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    drawTimeCode(mPixels.data, static_cast<uint32_t>(mPixels.cols), static_cast<uint32_t>(mPixels.rows),
                 static_cast<uint64_t>(wallMs));
  }

  std::string mPattern;
  uint64_t mLimit;
  double mFps;
  uint64_t mNumber;
  uint64_t mDelivered = 0;
  cv::Mat mPixels;
  Clock::time_point mDue;
};

} // namespace

std::unique_ptr<FrameSource> createTestSource(const CaptureConfig& config) {
  return std::make_unique<TestSource>(config);
}

} // namespace scenebus::capture
