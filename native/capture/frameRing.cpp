#include "capture/frameRing.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace scenebus::capture {

namespace {

constexpr uint32_t kMagic = 0x53425247; // "SBRG"
constexpr uint32_t kVersion = 3;
constexpr size_t kPage = 4096;
constexpr char kNamePrefix[] = "scenebus-";
constexpr int32_t kWriting = -1;
constexpr uint64_t kSlotBits = 8; // `newest` packs (sequence << kSlotBits) | slot

} // namespace

struct RingHeader {
  uint32_t magic;
  uint32_t version;
  uint32_t slotCount;
  uint64_t slotBytes;
  alignas(64) std::atomic<uint64_t> newest;
  alignas(64) std::atomic<uint64_t> heartbeat;
  std::atomic<uint32_t> ended;
  alignas(64) std::atomic<uint32_t> readerWaits;
  std::atomic<int64_t> readAtMonotonicUs;
};

struct SlotHeader {
  alignas(64) std::atomic<int32_t> pins;
  FrameMeta meta;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free &&
                  std::atomic<int32_t>::is_always_lock_free,
              "atomics that take a lock do not work between processes");
static_assert(sizeof(RingHeader) <= kPage && sizeof(SlotHeader) <= kPage);

namespace {

size_t roundToPage(size_t size) {
  return (size + kPage - 1) / kPage * kPage;
}
size_t slotStride(uint64_t slotBytes) {
  return kPage + roundToPage(slotBytes);
}
size_t ringSize(uint32_t slotCount, uint64_t slotBytes) {
  return kPage + slotCount * slotStride(slotBytes);
}

[[noreturn]] void throwErrno(int code, const char* what) {
  throw std::system_error(code, std::generic_category(), what);
}

std::string randomName() {
  uint8_t bytes[12];
  if (getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes))
    throwErrno(errno, "getrandom");
  std::string name = std::string("/") + kNamePrefix;
  for (uint8_t byte : bytes) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    name += hex;
  }
  return name;
}

/** A new segment that only this user can open, locked against removeStaleRings(). */
FileDescriptor createSegment(std::string& name) {
  for (int attempt = 0; attempt < 16; ++attempt) {
    name = randomName();
    FileDescriptor descriptor(shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    if (!descriptor.isOpen()) {
      if (errno == EEXIST)
        continue;
      throwErrno(errno, "shm_open");
    }
    // Between creation and lock, the clean-up of another host may have taken it for stale: then try another name.
    struct stat status {};
    if (flock(descriptor.get(), LOCK_EX | LOCK_NB) == 0 && fstat(descriptor.get(), &status) == 0 && status.st_nlink > 0)
      return descriptor;
  }
  throwErrno(EEXIST, "shm_open");
}

SharedMapping mapShared(const FileDescriptor& descriptor, size_t size) {
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.get(), 0);
  if (address == MAP_FAILED)
    throwErrno(errno, "mmap");
  return SharedMapping(address, size);
}

} // namespace

SharedMapping::~SharedMapping() {
  if (mAddress)
    munmap(mAddress, mSize);
}
SharedMapping::SharedMapping(SharedMapping&& other) noexcept : mAddress(other.mAddress), mSize(other.mSize) {
  other.mAddress = nullptr;
}
SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  std::swap(mAddress, other.mAddress);
  std::swap(mSize, other.mSize);
  return *this;
}

RingWriter::RingWriter(uint32_t slotCount, uint64_t slotBytes) : mSlotCount(slotCount), mSlotBytes(slotBytes) {
  if (slotCount < kMinSlots || slotCount > kMaxSlots || slotBytes == 0 || slotBytes > kMaxFrameBytes)
    throwErrno(EINVAL, "ring geometry");
  const size_t size = ringSize(slotCount, slotBytes);
  mDescriptor = createSegment(mName);
  // Reserves the pages: a full /dev/shm is an error here instead of a SIGBUS at some later write.
  int failure = posix_fallocate(mDescriptor.get(), 0, static_cast<off_t>(size));
  if (failure == 0) {
    try {
      mMapping = mapShared(mDescriptor, size);
    } catch (const std::system_error& error) {
      failure = error.code().value();
    }
  }
  if (failure != 0) {
    shm_unlink(mName.c_str());
    throwErrno(failure, "shared memory");
  }
  for (uint32_t index = 0; index < slotCount; ++index) {
    auto* header = new (slot(index)) SlotHeader{};
    header->pins.store(0, std::memory_order_relaxed);
  }
  mHeader = new (mMapping.bytes()) RingHeader{};
  mHeader->slotCount = slotCount;
  mHeader->slotBytes = slotBytes;
  mHeader->version = kVersion;
  mHeader->magic = kMagic;
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

RingWriter::~RingWriter() {
  shm_unlink(mName.c_str()); // fails quietly when the reader has taken the name already
}

SlotHeader* RingWriter::slot(uint32_t index) const {
  return reinterpret_cast<SlotHeader*>(mMapping.bytes() + kPage + index * slotStride(mSlotBytes));
}

uint8_t* RingWriter::beginFrame() {
  if (mOpenSlot >= 0)
    abandonFrame();
  const uint64_t newest = mHeader->newest.load(std::memory_order_relaxed);
  const int newestSlot = newest == 0 ? -1 : static_cast<int>(newest & ((1U << kSlotBits) - 1));
  for (uint32_t step = 1; step <= mSlotCount; ++step) {
    const uint32_t index = (mLastSlot + step) % mSlotCount;
    if (static_cast<int>(index) == newestSlot)
      continue;
    int32_t idle = 0;
    if (!slot(index)->pins.compare_exchange_strong(idle, kWriting, std::memory_order_acquire))
      continue;
    mOpenSlot = static_cast<int>(index);
    // A reader that pins it after an abandoned write must not take the old numbers for the new pixels.
    slot(index)->meta.sequence = 0;
    return reinterpret_cast<uint8_t*>(slot(index)) + kPage;
  }
  return nullptr;
}

bool RingWriter::publishFrame(const FrameMeta& meta) {
  if (mOpenSlot < 0 || meta.sequence == 0 || frameBytes(meta.width, meta.height) > mSlotBytes)
    throwErrno(EINVAL, "publishFrame");
  SlotHeader* open = slot(static_cast<uint32_t>(mOpenSlot));
  open->meta = meta;
  open->pins.store(0, std::memory_order_release);
  mHeader->newest.store(meta.sequence << kSlotBits | static_cast<uint64_t>(mOpenSlot), std::memory_order_seq_cst);
  mLastSlot = static_cast<uint32_t>(mOpenSlot);
  mOpenSlot = -1;
  beat();
  // Sequentially consistent on both sides: either this sees the request or the reader sees the frame.
  return mHeader->readerWaits.exchange(0, std::memory_order_seq_cst) != 0;
}

void RingWriter::abandonFrame() {
  if (mOpenSlot < 0)
    return;
  slot(static_cast<uint32_t>(mOpenSlot))->pins.store(0, std::memory_order_release);
  mOpenSlot = -1;
}

const uint8_t* RingWriter::newestFrame(FrameMeta& meta) const {
  const uint64_t newest = mHeader->newest.load(std::memory_order_relaxed);
  if (newest == 0)
    return nullptr;
  const SlotHeader* header = slot(static_cast<uint32_t>(newest & ((1U << kSlotBits) - 1)));
  meta = header->meta;
  return reinterpret_cast<const uint8_t*>(header) + kPage;
}

bool RingWriter::isAwaited() const {
  return mHeader->readerWaits.load(std::memory_order_seq_cst) != 0;
}
int64_t RingWriter::readAtMonotonicUs() const {
  return mHeader->readAtMonotonicUs.load(std::memory_order_relaxed);
}

void RingWriter::beat() {
  mHeader->heartbeat.fetch_add(1, std::memory_order_relaxed);
}

bool RingWriter::end() {
  mHeader->ended.store(1, std::memory_order_seq_cst);
  return mHeader->readerWaits.exchange(0, std::memory_order_seq_cst) != 0;
}

RingReader::RingReader(const std::string& name) : mName(name) {
  if (name.rfind(std::string("/") + kNamePrefix, 0) != 0 || name.find('/', 1) != std::string::npos)
    throwErrno(EINVAL, "ring name");
  const FileDescriptor descriptor(shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (!descriptor.isOpen())
    throwErrno(errno, "shm_open");
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0 || status.st_size <= static_cast<off_t>(kPage))
    throwErrno(EPROTO, "ring size");
  const auto size = static_cast<size_t>(status.st_size);
  mMapping = mapShared(descriptor, size);
  mHeader = reinterpret_cast<RingHeader*>(mMapping.bytes());
  mSlotCount = mHeader->slotCount;
  mSlotBytes = mHeader->slotBytes;
  if (mHeader->magic != kMagic || mHeader->version != kVersion || mSlotCount < kMinSlots || mSlotCount > kMaxSlots ||
      mSlotBytes == 0 || mSlotBytes > kMaxFrameBytes || ringSize(mSlotCount, mSlotBytes) != size)
    throwErrno(EPROTO, "ring header");
}

void RingReader::unlinkName() {
  shm_unlink(mName.c_str());
}

SlotHeader* RingReader::slot(uint32_t index) const {
  return reinterpret_cast<SlotHeader*>(mMapping.bytes() + kPage + index * slotStride(mSlotBytes));
}

uint64_t RingReader::newestSequence() const {
  return mHeader->newest.load(std::memory_order_seq_cst) >> kSlotBits;
}
uint64_t RingReader::heartbeat() const {
  return mHeader->heartbeat.load(std::memory_order_relaxed);
}
bool RingReader::ended() const {
  return mHeader->ended.load(std::memory_order_seq_cst) != 0;
}
void RingReader::noteRead(int64_t monotonicUs) {
  mHeader->readAtMonotonicUs.store(monotonicUs, std::memory_order_relaxed);
}
void RingReader::requestDoorbell() {
  mHeader->readerWaits.store(1, std::memory_order_seq_cst);
}

RingReader::Pin RingReader::pinNewest(uint64_t afterSequence) {
  // The writer can overtake between load and pin; each retry means a newer frame exists, so a few suffice.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const uint64_t newest = mHeader->newest.load(std::memory_order_acquire);
    const uint64_t sequence = newest >> kSlotBits;
    const auto index = static_cast<uint32_t>(newest & ((1U << kSlotBits) - 1));
    if (sequence <= afterSequence || index >= mSlotCount)
      return {};
    SlotHeader* candidate = slot(index);
    int32_t pins = candidate->pins.load(std::memory_order_relaxed);
    if (pins < 0 || !candidate->pins.compare_exchange_strong(pins, pins + 1, std::memory_order_acquire))
      continue;
    const FrameMeta meta = candidate->meta;
    Pin pin(candidate, reinterpret_cast<const uint8_t*>(candidate) + kPage, meta);
    const bool fits = meta.width != 0 && meta.height != 0 && meta.width <= kMaxSide && meta.height <= kMaxSide &&
                      frameBytes(meta.width, meta.height) <= mSlotBytes;
    if (meta.sequence == sequence && fits)
      return pin;
  }
  return {};
}

RingReader::Pin::~Pin() {
  if (mSlot)
    mSlot->pins.fetch_sub(1, std::memory_order_release);
}
RingReader::Pin::Pin(Pin&& other) noexcept : mSlot(other.mSlot), mPixels(other.mPixels), mMeta(other.mMeta) {
  other.mSlot = nullptr;
}

size_t removeStaleRings() {
  size_t removed = 0;
  DIR* directory = opendir("/dev/shm");
  if (!directory)
    return 0;
  while (const dirent* entry = readdir(directory)) {
    if (std::strncmp(entry->d_name, kNamePrefix, sizeof kNamePrefix - 1) != 0)
      continue;
    const std::string name = std::string("/") + entry->d_name;
    const FileDescriptor descriptor(shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0));
    if (!descriptor.isOpen())
      continue;
    struct stat status {};
    if (fstat(descriptor.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
        flock(descriptor.get(), LOCK_EX | LOCK_NB) == 0 && shm_unlink(name.c_str()) == 0)
      ++removed;
  }
  closedir(directory);
  return removed;
}

} // namespace scenebus::capture
