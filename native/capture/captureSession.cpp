#include "capture/captureSession.h"

#include "capture/frameRing.h"
#include "capture/frameSource.h"
#include "capture/frameTransform.h"

#include <cerrno>
#include <thread>

#include <sys/socket.h>

namespace scenebus::capture {

namespace {

constexpr auto kLongestSlice = std::chrono::milliseconds(50);

void ringDoorbell(int descriptor) {
  const char bell = 1;
  // A full socket means that the reader has bells to hear already.
  if (descriptor >= 0)
    (void)!send(descriptor, &bell, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

std::unique_ptr<FrameSource> createSource(const CaptureConfig& config) {
  switch (config.kind) {
  case CaptureConfig::Kind::kVideo:
    return createVideoSource(config);
  case CaptureConfig::Kind::kImages:
    return createImageFolderSource(config);
  case CaptureConfig::Kind::kTest:
    break;
  }
  return createTestSource(config);
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
      if (mSession.mRing)
        mSession.mRing->beat();
      const auto now = Clock::now();
      if (now >= due)
        return true;
      std::this_thread::sleep_for(std::min<Clock::duration>(due - now, kLongestSlice));
    }
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

std::shared_ptr<CaptureSession> CaptureSession::start(CaptureConfig config, OnEvent onEvent) {
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
  mOnEvent(last);
}

CaptureEvent CaptureSession::capture() {
  SessionContext context(*this);
  const auto source = createSource(mConfig);
  FrameTransform transform(mConfig.requestWidth, mConfig.requestHeight, mConfig.rotation);
  uint64_t sequence = mConfig.firstSequence - 1;
  cv::Size announced;
  CaptureEvent last;

  source->open(context);
  SourceFrame frame;
  for (;;) {
    frame.advance = 1;
    const ReadOutcome outcome = source->read(context, frame);
    if (outcome == ReadOutcome::kFrame) {
      sequence += frame.advance;
      const cv::Size size = transform.outputSize(frame.pixels);
      const uint64_t bytes = frameBytes(static_cast<uint64_t>(size.width), static_cast<uint64_t>(size.height));
      const bool larger = !mRing || bytes > mRing->slotBytes();
      if (larger)
        mRing = std::make_unique<RingWriter>(mConfig.ringSlots, bytes);
      if (uint8_t* slot = mRing->beginFrame()) {
        transform.apply(frame.pixels, slot);
        const FrameMeta meta{static_cast<uint32_t>(size.width), static_cast<uint32_t>(size.height), sequence,
                             frame.capturedAtUs, frame.mediaTimeMs};
        if (mRing->publishFrame(meta))
          ringDoorbell(mConfig.doorbellFd);
      } else {
        mRing->beat(); // readers hold every slot: this frame is dropped, the next one finds room
      }
      if (larger || size != announced) {
        announced = size;
        CaptureEvent event;
        event.type = CaptureEvent::Type::kRing;
        event.ringName = mRing->name();
        event.width = size.width;
        event.height = size.height;
        event.framesPerSecond = source->framesPerSecond();
        event.backend = source->backendName();
        mOnEvent(event);
      }
      continue;
    }
    if (outcome == ReadOutcome::kLost)
      throw CaptureError("ERR_CAPTURE_LOST", "the source stopped delivering pictures");
    last.type = outcome == ReadOutcome::kEnded ? CaptureEvent::Type::kEnded : CaptureEvent::Type::kStopped;
    if (outcome == ReadOutcome::kEnded && mRing && mRing->end())
      ringDoorbell(mConfig.doorbellFd);
    return last;
  }
}

} // namespace scenebus::capture
