#pragma once
#include "capture/captureConfig.h"
#include "capture/frameRing.h"
#include "capture/frameSource.h"
#include "capture/frameTransform.h"

#include <functional>
#include <memory>
#include <string>

namespace scenebus::capture {

struct CaptureEvent {
  enum class Type {
    kRing,    // a ring (or a larger one) is there, or the frames' size has changed
    kWarning, // the source goes on
    kFrozen,  // frames come, but the picture has been the same for frozenAfterMs; told again after as long again
    kMoving,  // the picture changes again
    kEnded,   // a file or folder is at its end
    kFailed,  // `code`, `message`
    kStopped, // on request
  };
  Type type = Type::kStopped;
  std::string ringName;
  int width = 0;
  int height = 0;
  double framesPerSecond = 0;
  bool isPaced = false;
  std::string backend;
  /** kFrozen: of that picture. kEnded: of the first picture when the end is a guess, else empty. */
  std::string pictureHash;
  std::string code;
  std::string message;
  uint64_t frames = 0; // last event: how many there were
};

using OnCaptureEvent = std::function<void(const CaptureEvent&)>;

/** Writes frames into the ring, tells of rings and of pictures that stand still. For one thread. */
class FramePublisher {
public:
  FramePublisher(const CaptureConfig& config, OnCaptureEvent onEvent);

  /** What a source says of itself. */
  struct SourceFacts {
    double framesPerSecond = 0;
    std::string backend;
    bool isPaced = false;
  };
  /** Throws CaptureError for a picture beyond the limits, std::system_error when shared memory is full. */
  void publish(const SourceFrame& frame, const SourceFacts& facts);
  /** Whether the next frame would be used: somebody waits, has read a moment ago, or may soon look at what is there. */
  bool isWanted() const;
  /** A frame came and was not wanted: a sign of life. It is counted in `frames`, and in the next one's `advance`. */
  void passOver();
  uint64_t frames() const { return mFrames; }
  /** Of the first picture; empty before it. */
  const std::string& firstHash() const { return mFirstHash; }
  /** Sign of life while no frame is due. */
  void beat();
  /** No frame will follow. */
  void end();

private:
  void noteFirst(const uint8_t* pixels, uint64_t bytes, const FrameMeta& meta);
  void watchForFreeze(const uint8_t* pixels, uint64_t bytes, const FrameMeta& meta, const FrameMeta* before,
                      const uint8_t* pixelsBefore);

  CaptureConfig mConfig;
  OnCaptureEvent mOnEvent;
  FrameTransform mTransform;
  uint64_t mSequence;
  int64_t mPublishedAtUs = 0;
  cv::Size mAnnounced;
  bool mAnnouncedPaced = false;
  std::unique_ptr<RingWriter> mRing;

  std::string mFirstHash;
  uint64_t mFrames = 0;
  bool mIsFrozen = false;
  int mSameFrames = 0;
  int64_t mSameSinceUs = 0;
  int64_t mComparedAtUs = 0;
  /** Of a picture that has stood still for a while; empty while it moves. */
  std::string mStillHash;
};

} // namespace scenebus::capture
