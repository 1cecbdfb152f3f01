#pragma once
#include "common/mappedMemory.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace scenebus {

/** A file, or a range of it, in memory: pages are read when they are touched. Movable, not copyable. */
class MappedFile {
 public:
  enum class Pages {
    /** Those of the page cache, read-only. */
    kShared,
    /** Copy-on-write: a stray write neither faults nor reaches the file. */
    kPrivate,
  };

  struct Range {
    static constexpr std::int64_t kToEnd = -1;

    std::int64_t offsetBytes = 0; // any, page-aligned or not
    std::int64_t sizeBytes = kToEnd;
  };

  MappedFile() = default;
  /**
   * @param what in words, for messages: "the graph"
   * @throws CodedError ERR_MODEL_NOT_FOUND when the file cannot be opened or mapped, ERR_MODEL_INVALID when the range
   *   lies outside it
   */
  MappedFile(const std::string& what, const std::string& path, Range range, Pages pages);
  MappedFile(const std::string& what, const std::string& path) : MappedFile(what, path, Range(), Pages::kShared) {}

  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(mMemory, other.mMemory);
    std::swap(mSkipBytes, other.mSkipBytes);
    std::swap(mSizeBytes, other.mSizeBytes);
    return *this;
  }

  /** Null for an empty range. */
  const std::uint8_t* data() const { return mSizeBytes == 0 ? nullptr : mMemory.data() + mSkipBytes; }
  /** Of `Pages::kPrivate`. */
  std::uint8_t* writableData() { return mSizeBytes == 0 ? nullptr : mMemory.data() + mSkipBytes; }
  std::size_t sizeBytes() const { return mSizeBytes; }

 private:
  MappedMemory mMemory;
  std::size_t mSkipBytes = 0; // from the page's start to the first wanted byte
  std::size_t mSizeBytes = 0;
};

} // namespace scenebus
