#include "capture/framePublisher.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include <sys/socket.h>

namespace scenebus::capture {

namespace {

/** Fewer repetitions than this are a slow source, not a frozen one. */
constexpr int kFewestSameFrames = 5;

/**
 * A picture that stands still is compared so often, not with every frame: comparing all of two frames is more than half
 * of what a frame costs here. Frames of a picture that moves differ early, and are all compared.
 */
constexpr int64_t kCompareEveryUs = 250'000;

/** While nobody reads, ten frames a second of thirty: a little less than 100 ms, because frames come unevenly. */
constexpr int64_t kUnreadEveryUs = 90'000;
/** Who has read a frame will hardly be content with one of a tenth of a second ago the next time. */
constexpr int64_t kReadersStayUs = 1'000'000;

int64_t monotonicUs() {
  using namespace std::chrono;
  return duration_cast<microseconds>(Clock::now().time_since_epoch()).count();
}

void ringDoorbell(int descriptor) {
  const char bell = 1;
  // A full socket means that the reader has bells to hear already.
  if (descriptor >= 0)
    (void)!send(descriptor, &bell, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/**
 * FNV-1a over 8-byte words in four lanes, which the processor multiplies at once: tells pictures apart, keeps nobody out.
 */
std::string hashOf(const uint8_t* bytes, uint64_t size) {
  constexpr uint64_t kPrime = 1099511628211ULL;
  constexpr size_t kLanes = 4;
  uint64_t lanes[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane)
    lanes[lane] = 14695981039346656037ULL ^ (size + lane);
  const auto mix = [](uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * kPrime;
    return hash ^ (hash >> 29);
  };
  uint64_t at = 0;
  for (; at + sizeof lanes <= size; at += sizeof lanes) {
    uint64_t words[kLanes];
    std::memcpy(words, bytes + at, sizeof words);
    for (size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = mix(lanes[lane], words[lane]);
  }
  uint64_t hash = lanes[0];
  for (size_t lane = 1; lane < kLanes; ++lane)
    hash = mix(hash, lanes[lane]);
  for (; at < size; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + at, std::min<uint64_t>(sizeof word, size - at));
    hash = mix(hash, word);
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

} // namespace

FramePublisher::FramePublisher(const CaptureConfig& config, OnCaptureEvent onEvent)
    : mConfig(config), mOnEvent(std::move(onEvent)),
      mTransform(config.requestWidth, config.requestHeight, config.mirror, config.rotation),
      mSequence(config.firstSequence - 1) {}

bool FramePublisher::isWanted() const {
  if (!mRing || mRing->isAwaited())
    return true;
  const int64_t now = monotonicUs();
  if (now - mRing->readAtMonotonicUs() < kReadersStayUs)
    return true;
  // A picture that stands still has to be seen often enough to be found out.
  const int64_t frozenUs = 1000LL * mConfig.frozenAfterMs / kFewestSameFrames;
  return now - mPublishedAtUs >= (frozenUs > 0 ? std::min(kUnreadEveryUs, frozenUs) : kUnreadEveryUs);
}

void FramePublisher::publish(const SourceFrame& frame, const SourceFacts& facts) {
  mSequence += frame.advance;
  mPublishedAtUs = monotonicUs();
  ++mFrames;
  const cv::Size size = mTransform.outputSize(frame.pixels);
  const uint64_t bytes = frameBytes(static_cast<uint64_t>(size.width), static_cast<uint64_t>(size.height));
  const bool larger = !mRing || bytes > mRing->slotBytes();
  if (larger)
    mRing = std::make_unique<RingWriter>(mConfig.ringSlots, bytes);
  if (uint8_t* slot = mRing->beginFrame()) {
    mTransform.apply(frame.pixels, slot);
    const FrameMeta meta{static_cast<uint32_t>(size.width),
                         static_cast<uint32_t>(size.height),
                         mSequence,
                         frame.capturedAtUs,
                         frame.capturedAtMonotonicUs,
                         frame.mediaTimeMs};
    FrameMeta before;
    const uint8_t* pixelsBefore = mRing->newestFrame(before);
    if (mFirstHash.empty())
      noteFirst(slot, bytes, meta);
    else if (mConfig.frozenAfterMs > 0)
      watchForFreeze(slot, bytes, meta, pixelsBefore == nullptr ? nullptr : &before, pixelsBefore);
    if (mRing->publishFrame(meta))
      ringDoorbell(mConfig.doorbellFd);
  } else {
    mRing->beat(); // readers hold every slot: this frame is dropped, the next one finds room
  }
  if (larger || size != mAnnounced || facts.isPaced != mAnnouncedPaced) {
    mAnnounced = size;
    mAnnouncedPaced = facts.isPaced;
    CaptureEvent event;
    event.type = CaptureEvent::Type::kRing;
    event.ringName = mRing->name();
    event.width = size.width;
    event.height = size.height;
    event.framesPerSecond = facts.framesPerSecond;
    event.isPaced = facts.isPaced;
    event.backend = facts.backend;
    mOnEvent(event);
  }
}

void FramePublisher::noteFirst(const uint8_t* pixels, uint64_t bytes, const FrameMeta& meta) {
  mFirstHash = hashOf(pixels, bytes);
  mSameSinceUs = meta.capturedAtMonotonicUs;
  mIsFrozen = mFirstHash == mConfig.frozenHash;
  if (mIsFrozen || mConfig.frozenHash.empty())
    return;
  CaptureEvent event;
  event.type = CaptureEvent::Type::kMoving;
  mOnEvent(event);
}

void FramePublisher::watchForFreeze(const uint8_t* pixels, uint64_t bytes, const FrameMeta& meta,
                                    const FrameMeta* before, const uint8_t* pixelsBefore) {
  CaptureEvent event;
  const int64_t now = meta.capturedAtMonotonicUs;
  const int64_t everyUs = std::min<int64_t>(kCompareEveryUs, 1000LL * mConfig.frozenAfterMs / kFewestSameFrames);
  const bool hasSize = before != nullptr && before->width == meta.width && before->height == meta.height;
  if (hasSize && !mStillHash.empty() && now - mComparedAtUs < everyUs) {
    ++mSameFrames;
    return;
  }
  mComparedAtUs = now;
  bool isSame = hasSize && std::memcmp(pixels, pixelsBefore, bytes) == 0;
  if (isSame && now - mSameSinceUs >= everyUs) {
    // What changed between two comparisons, and then stood still again, shows in the hash.
    const std::string hash = hashOf(pixels, bytes);
    isSame = mStillHash.empty() || hash == mStillHash;
    mStillHash = hash;
  }
  if (!isSame) {
    mStillHash.clear();
    mSameFrames = 0;
    mSameSinceUs = now;
    if (!mIsFrozen)
      return;
    mIsFrozen = false;
    event.type = CaptureEvent::Type::kMoving;
    mOnEvent(event);
    return;
  }
  if (++mSameFrames < kFewestSameFrames || now - mSameSinceUs < 1000LL * mConfig.frozenAfterMs)
    return;
  mSameFrames = 0;
  mSameSinceUs = now;
  mIsFrozen = true;
  event.type = CaptureEvent::Type::kFrozen;
  event.pictureHash = hashOf(pixels, bytes);
  mOnEvent(event);
}

void FramePublisher::passOver() {
  ++mFrames;
  beat();
}

void FramePublisher::beat() {
  if (mRing)
    mRing->beat();
}

void FramePublisher::end() {
  if (mRing && mRing->end())
    ringDoorbell(mConfig.doorbellFd);
}

} // namespace scenebus::capture
