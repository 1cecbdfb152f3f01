#pragma once
#include "capture/captureConfig.h"
#include "capture/frameRing.h"

#include <atomic>
#include <functional>
#include <memory>
#include <string>

namespace scenebus::capture {

struct CaptureEvent {
  enum class Type {
    kRing,    // a ring (or a larger one) is there, or the frames' size has changed
    kWarning, // the source goes on
    kEnded,   // a file or folder is at its end
    kFailed,  // `code`, `message`
    kStopped, // on request
  };
  Type type = Type::kStopped;
  std::string ringName;
  int width = 0;
  int height = 0;
  double framesPerSecond = 0;
  std::string backend;
  std::string code;
  std::string message;
};

/**
 * Reads a source on a thread of its own into a ring. The thread is detached: a read that never returns can only be
 * ended with the process, which is why the process is one that may be killed.
 */
class CaptureSession {
public:
  using OnEvent = std::function<void(const CaptureEvent&)>;

  /** `onEvent` is called on the capture thread; the last event is kEnded, kFailed or kStopped. */
  static std::shared_ptr<CaptureSession> start(CaptureConfig config, OnEvent onEvent);
  /** Asks the thread to end; returns at once. */
  void requestStop() { mStopping = true; }

private:
  CaptureSession(CaptureConfig config, OnEvent onEvent) : mConfig(std::move(config)), mOnEvent(std::move(onEvent)) {}
  void run();
  CaptureEvent capture();

  friend class SessionContext;
  CaptureConfig mConfig;
  OnEvent mOnEvent;
  std::atomic<bool> mStopping{false};
  // Lives as long as the session, not as the thread: a reader may still have to take the last frames' ring.
  std::unique_ptr<RingWriter> mRing;
};

} // namespace scenebus::capture
