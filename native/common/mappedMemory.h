#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

namespace scenebus {

/** Unmapping this much takes the system a few milliseconds; a multiple of every page size. */
constexpr std::size_t kUnmappedBytes = std::size_t{16} << 20;

/**
 * Unmaps `[memory, memory + sizeBytes)` in pieces: while the system takes pages back, no other thread of the process can
 * map or unmap anything, and JavaScript does so all the time.
 */
void unmapInPieces(void* memory, std::size_t sizeBytes) noexcept;

/** Owns what `mmap` returned. Movable, not copyable; the destructor unmaps. */
class MappedMemory {
 public:
  MappedMemory() = default;
  /** Takes ownership; `memory` is page-aligned. */
  MappedMemory(void* memory, std::size_t sizeBytes)
      : mMemory(static_cast<std::uint8_t*>(memory)), mSizeBytes(sizeBytes) {}
  ~MappedMemory() { unmap(); }
  MappedMemory(MappedMemory&& other) noexcept
      : mMemory(std::exchange(other.mMemory, nullptr)), mSizeBytes(std::exchange(other.mSizeBytes, 0)) {}
  MappedMemory& operator=(MappedMemory&& other) noexcept {
    std::swap(mMemory, other.mMemory);
    std::swap(mSizeBytes, other.mSizeBytes);
    return *this;
  }
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;

  /**
   * Zeroed pages without a file; the system provides each when it is first written.
   * @param isReserved whether the system counts all of it as used from now on; otherwise only what is written
   * @throws std::bad_alloc
   */
  static MappedMemory anonymous(std::size_t sizeBytes, bool isReserved);

  std::uint8_t* data() const { return mMemory; }
  std::size_t sizeBytes() const { return mSizeBytes; }
  void unmap() noexcept;

 private:
  std::uint8_t* mMemory = nullptr;
  std::size_t mSizeBytes = 0;
};

} // namespace scenebus
