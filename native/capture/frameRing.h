#pragma once
#include "common/fileDescriptor.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

/**
 * Newest-wins ring of frames in POSIX shared memory: one writer process, any number of reader processes.
 *
 * A slot is either being written (-1), idle (0) or pinned by n readers. The writer only takes idle slots and never the
 * newest one; a reader copies only from a slot that it has pinned. So a reader can never see a torn frame, nobody waits
 * for anybody, and when every other slot is pinned the writer drops its frame. No OpenCV here: the service reads
 * rings without loading it.
 */
namespace scenebus::capture {

struct FrameMeta {
  uint32_t width = 0;
  uint32_t height = 0;
  /** 1 for the first frame of a camera; grows by one with every frame that the source delivered. */
  uint64_t sequence = 0;
  /** Unix time of capture, microseconds: a stamp for others, useless for ages (clocks are set). */
  int64_t capturedAtUs = 0;
  /** The same instant by CLOCK_MONOTONIC, which all processes of this machine share, microseconds. */
  int64_t capturedAtMonotonicUs = 0;
  /** Position in the clip, milliseconds; negative when the source has none. */
  double mediaTimeMs = -1;
};

/** Bytes of a bgr8 frame, `[height, width, 3]` without row padding. */
constexpr uint64_t frameBytes(uint64_t width, uint64_t height) {
  return width * height * 3;
}

constexpr uint32_t kMinSlots = 3;
constexpr uint32_t kMaxSlots = 16;
/** Largest frame: 64 megapixels and 16384 a side, as for still images (sdk/core/limits.ts). */
constexpr uint32_t kMaxSide = 16384;
constexpr uint64_t kMaxFrameBytes = 3ULL * 64 * 1024 * 1024;

struct RingHeader;
struct SlotHeader;

/** A shared mapping, unmapped on destruction. */
class SharedMapping {
public:
  SharedMapping() = default;
  SharedMapping(void* address, size_t size) : mAddress(address), mSize(size) {}
  ~SharedMapping();
  SharedMapping(SharedMapping&& other) noexcept;
  SharedMapping& operator=(SharedMapping&& other) noexcept;
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  uint8_t* bytes() const { return static_cast<uint8_t*>(mAddress); }
  size_t size() const { return mSize; }

private:
  void* mAddress = nullptr;
  size_t mSize = 0;
};

/** Creates the ring and owns its name until a reader has taken it over. Not thread-safe: one writing thread. */
class RingWriter {
public:
  /** Mode 0600, random name. Throws std::system_error; ENOSPC when shared memory is too small. */
  RingWriter(uint32_t slotCount, uint64_t slotBytes);
  ~RingWriter();
  RingWriter(const RingWriter&) = delete;
  RingWriter& operator=(const RingWriter&) = delete;

  const std::string& name() const { return mName; }
  uint64_t slotBytes() const { return mSlotBytes; }

  /** Room for `slotBytes()` bytes, or null when readers hold every slot: then drop the frame. */
  uint8_t* beginFrame();
  /** Makes the frame of the last beginFrame() the newest. True when a reader waits for it: ring its doorbell. */
  bool publishFrame(const FrameMeta& meta);
  /** Gives the slot of the last beginFrame() back unused. */
  void abandonFrame();
  /** The newest frame that was published, or null before the first. It stays as it is until the next publishFrame(). */
  const uint8_t* newestFrame(FrameMeta& meta) const;
  /** A reader waits for the next frame. */
  bool isAwaited() const;
  /** When somebody last looked for a frame to copy, by CLOCK_MONOTONIC, microseconds; 0: nobody has. */
  int64_t readAtMonotonicUs() const;
  /** Sign of life for readers; call at least a few times a second while all is well. */
  void beat();
  /** No frame will follow. True when a reader waits. */
  bool end();

private:
  SlotHeader* slot(uint32_t index) const;

  std::string mName;
  FileDescriptor mDescriptor; // holds the lock that keeps removeStaleRings() away
  SharedMapping mMapping;
  RingHeader* mHeader = nullptr;
  uint32_t mSlotCount;
  uint64_t mSlotBytes;
  uint32_t mLastSlot = 0;
  int mOpenSlot = -1;
};

class RingReader {
public:
  /** Maps an existing ring. Throws std::system_error, also (EPROTO) for a segment that is no ring of this version. */
  explicit RingReader(const std::string& name);

  /** Takes the name away: the memory goes when the last process unmaps it, even after SIGKILL. */
  void unlinkName();

  /** Sequence of the newest frame; 0 before the first. */
  uint64_t newestSequence() const;
  uint64_t heartbeat() const;
  bool ended() const;
  /** Tells the writer that frames are copied; a look at one in its slot needs none of it. */
  void noteRead(int64_t monotonicUs);
  /** Asks the writer to ring the doorbell at its next frame. Check newestSequence() once more afterwards. */
  void requestDoorbell();

  /** A pinned frame. The pixels stay as they are until it is destroyed; keep it for the length of a copy. */
  class Pin {
  public:
    Pin() = default;
    Pin(SlotHeader* slot, const uint8_t* pixels, const FrameMeta& meta) : mSlot(slot), mPixels(pixels), mMeta(meta) {}
    ~Pin();
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin&&) = delete;
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    explicit operator bool() const { return mSlot != nullptr; }
    const uint8_t* pixels() const { return mPixels; }
    const FrameMeta& meta() const { return mMeta; }

  private:
    SlotHeader* mSlot = nullptr;
    const uint8_t* mPixels = nullptr;
    FrameMeta mMeta;
  };

  /** The newest frame if its sequence is above `afterSequence`, else an empty pin. */
  Pin pinNewest(uint64_t afterSequence);

private:
  SlotHeader* slot(uint32_t index) const;

  std::string mName;
  SharedMapping mMapping;
  RingHeader* mHeader = nullptr;
  // Own copies: the header lies in memory that another process can write.
  uint32_t mSlotCount = 0;
  uint64_t mSlotBytes = 0;
};

/**
 * Unlinks rings whose writer is gone (killed between creating the ring and its reader taking the name). A living writer
 * holds a lock on its ring, so this is right across containers with separate process ids. Returns how many.
 */
size_t removeStaleRings();

} // namespace scenebus::capture
