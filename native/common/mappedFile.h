#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace scenebus {

/**
 * A range of a file in memory. Pages are private and copy-on-write: a stray write neither faults nor reaches the file.
 * Movable, not copyable; the destructor unmaps.
 */
class MappedFile {
public:
  static constexpr int64_t kToEnd = -1;

  MappedFile() = default;
  ~MappedFile() { unmap(); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  /** Any offset, page-aligned or not. Returns an empty string, or what went wrong. */
  std::string map(const std::string& path, int64_t offsetBytes, int64_t sizeBytes);
  void unmap() noexcept;

  uint8_t* data() const { return mBase == nullptr ? nullptr : mBase + mSkip; }
  size_t size() const { return mSize; }

private:
  uint8_t* mBase = nullptr; // page-aligned start of the mapping
  size_t mMapped = 0;       // bytes mapped from mBase
  size_t mSkip = 0;         // from mBase to the first wanted byte
  size_t mSize = 0;         // wanted bytes
};

} // namespace scenebus
