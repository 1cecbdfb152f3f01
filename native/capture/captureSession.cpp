#include "capture/captureSession.h"

#include "capture/frameSource.h"

#include <cerrno>
#include <system_error>
#include <thread>

namespace scenebus::capture {

namespace {

constexpr auto kLongestSlice = std::chrono::milliseconds(50);

std::unique_ptr<FrameSource> createSource(const CaptureConfig& config) {
  return config.kind == CaptureConfig::Kind::kVideo ? createVideoSource(config) : createTestSource(config);
}

} // namespace

class SessionContext final : public SourceContext {
public:
  explicit SessionContext(CaptureSession& session) : mSession(session) {}

  bool stopping() const override { return mSession.mStopping; }

  bool waitUntil(Clock::time_point due) override {
    for (;;) {
      if (stopping())
        return false;
      mSession.mPublisher.beat();
      const auto now = Clock::now();
      if (now >= due)
        return true;
      std::this_thread::sleep_for(std::min<Clock::duration>(due - now, kLongestSlice));
    }
  }

  bool isWanted() override {
    if (mSession.mPublisher.isWanted())
      return true;
    mSession.mPublisher.passOver();
    return false;
  }

  void warn(const std::string& message) override {
    CaptureEvent event;
    event.type = CaptureEvent::Type::kWarning;
    event.message = message;
    mSession.mOnEvent(event);
  }

private:
  CaptureSession& mSession;
};

std::shared_ptr<CaptureSession> CaptureSession::start(CaptureConfig config, OnCaptureEvent onEvent) {
  std::shared_ptr<CaptureSession> session(new CaptureSession(std::move(config), std::move(onEvent)));
  std::thread([session] { session->run(); }).detach();
  return session;
}

void CaptureSession::run() {
  CaptureEvent last;
  last.type = CaptureEvent::Type::kFailed;
  try {
    last = capture();
  } catch (const CaptureError& error) {
    last.code = error.code;
    last.message = error.what();
  } catch (const std::system_error& error) {
    const int code = error.code().value();
    last.code = code == ENOSPC || code == ENOMEM ? "ERR_LIMIT_EXCEEDED" : "ERR_CAPTURE_LOST";
    last.message = error.what();
  } catch (const std::exception& error) { // cv::Exception, bad_alloc
    last.code = "ERR_CAPTURE_LOST";
    last.message = error.what();
  }
  last.frames = mPublisher.frames();
  mOnEvent(last);
}

CaptureEvent CaptureSession::capture() {
  SessionContext context(*this);
  const auto source = createSource(mConfig);
  CaptureEvent last;

  source->open(context);
  SourceFrame frame;
  for (;;) {
    frame.advance = 1;
    const ReadOutcome outcome = source->read(context, frame);
    if (outcome == ReadOutcome::kFrame) {
      mPublisher.publish(frame, {source->framesPerSecond(), source->backendName(), source->isPaced()});
      if (mConfig.clipHash.empty() || mPublisher.firstHash() != mConfig.clipHash)
        continue;
      mPublisher.end();
      last.type = CaptureEvent::Type::kEnded;
      return last;
    }
    if (outcome == ReadOutcome::kLost)
      throw CaptureError("ERR_CAPTURE_LOST", "the source stopped delivering pictures");
    last.type = outcome == ReadOutcome::kEnded ? CaptureEvent::Type::kEnded : CaptureEvent::Type::kStopped;
    if (outcome == ReadOutcome::kEnded) {
      mPublisher.end();
      if (source->endIsGuess())
        last.pictureHash = mPublisher.firstHash();
    }
    return last;
  }
}

} // namespace scenebus::capture
