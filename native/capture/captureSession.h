#pragma once
#include "capture/captureConfig.h"
#include "capture/framePublisher.h"

#include <atomic>
#include <memory>

namespace scenebus::capture {

/**
 * Reads a source on a thread of its own into a ring. The thread is detached: a read that never returns can only be
 * ended with the process, which is why the process is one that may be killed.
 */
class CaptureSession {
public:
  /** `onEvent` is called on the capture thread; the last event is kEnded, kFailed or kStopped. */
  static std::shared_ptr<CaptureSession> start(CaptureConfig config, OnCaptureEvent onEvent);
  /** Asks the thread to end; returns at once. */
  void requestStop() { mStopping = true; }

private:
  CaptureSession(CaptureConfig config, OnCaptureEvent onEvent)
      : mConfig(std::move(config)), mOnEvent(std::move(onEvent)), mPublisher(mConfig, mOnEvent) {}
  void run();
  CaptureEvent capture();

  friend class SessionContext;
  CaptureConfig mConfig;
  OnCaptureEvent mOnEvent;
  std::atomic<bool> mStopping{false};
  // Lives as long as the session, not as the thread: a reader may still have to take the last frames' ring.
  FramePublisher mPublisher;
};

} // namespace scenebus::capture
