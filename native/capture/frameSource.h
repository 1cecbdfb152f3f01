#pragma once
#include "capture/captureConfig.h"

#include <opencv2/core.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace scenebus::capture {

using Clock = std::chrono::steady_clock;

/** What a source may ask of the session while it works. */
class SourceContext {
public:
  virtual ~SourceContext() = default;
  virtual bool stopping() const = 0;
  /** Sleeps in slices, giving signs of life, so that a slow rate does not look like a hang. False when stopping. */
  virtual bool waitUntil(Clock::time_point due) = 0;
  /**
   * Whether somebody needs the frame that a live source has just got. false: do not convert it, go on to the next; it
   * counts as a sign of life. A frame is taken ten times a second in any case, so that a look finds a fresh one.
   */
  virtual bool isWanted() = 0;
  virtual void warn(const std::string& message) = 0;
};

struct SourceFrame {
  cv::Mat pixels; // 8-bit with 1, 3 (BGR) or 4 (BGRA) channels; 16-bit is scaled down
  int64_t capturedAtUs = 0;
  int64_t capturedAtMonotonicUs = 0;
  double mediaTimeMs = -1;
  /** Frames that the source delivered up to this one, counted from the last: 1 + skipped. */
  uint64_t advance = 1;
};

enum class ReadOutcome { kFrame, kEnded, kLost, kStopped };

/** Delivers frames in real time on the thread that calls it. `open` and `read` may block; the process is killable. */
class FrameSource {
public:
  virtual ~FrameSource() = default;
  /** Throws CaptureError. */
  virtual void open(SourceContext& context) = 0;
  /** Blocks until the next frame is due. Throws CaptureError. */
  virtual ReadOutcome read(SourceContext& context, SourceFrame& frame) = 0;
  /** As declared or asked for; 0 when unknown. */
  virtual double framesPerSecond() const = 0;
  virtual std::string backendName() const = 0;
  /** Whether it waits for the times of a recording; a live source gives frames as they come. */
  virtual bool isPaced() const { return false; }
  /** kEnded was told because it looked like a recording's end; a camera that broke off cannot be ruled out. */
  virtual bool endIsGuess() const { return false; }
};

std::unique_ptr<FrameSource> createVideoSource(const CaptureConfig& config);
std::unique_ptr<FrameSource> createTestSource(const CaptureConfig& config);

/** Now, by both clocks. */
inline void stampNow(SourceFrame& frame) {
  using namespace std::chrono;
  frame.capturedAtUs = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
  frame.capturedAtMonotonicUs = duration_cast<microseconds>(Clock::now().time_since_epoch()).count();
}

inline Clock::duration secondsToDuration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

} // namespace scenebus::capture
