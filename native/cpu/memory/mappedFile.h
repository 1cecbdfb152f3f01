#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace scenebus::cpu {

/** A whole file mapped read-only: its pages belong to the page cache and are read when touched. */
class MappedFile {
 public:
  MappedFile() = default;
  /** @throws CodedError ERR_MODEL_NOT_FOUND when the file cannot be opened. */
  explicit MappedFile(const std::string& path);
  /** Takes over memory from `mmap`, for instance without a file. */
  MappedFile(void* memory, std::size_t sizeBytes)
      : mData(static_cast<const std::uint8_t*>(memory)), mSizeBytes(sizeBytes) {}
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::uint8_t* data() const { return mData; }
  std::size_t sizeBytes() const { return mSizeBytes; }

 private:
  void unmap();

  const std::uint8_t* mData = nullptr;
  std::size_t mSizeBytes = 0;
};

} // namespace scenebus::cpu
