#include "common/mappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace scenebus {

namespace {
struct FileDescriptor {
  int value;
  ~FileDescriptor() {
    if (value >= 0)
      ::close(value);
  }
};
} // namespace

MappedFile::MappedFile(MappedFile&& other) noexcept
    : mBase(std::exchange(other.mBase, nullptr)), mMapped(std::exchange(other.mMapped, 0)),
      mSkip(std::exchange(other.mSkip, 0)), mSize(std::exchange(other.mSize, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    mBase = std::exchange(other.mBase, nullptr);
    mMapped = std::exchange(other.mMapped, 0);
    mSkip = std::exchange(other.mSkip, 0);
    mSize = std::exchange(other.mSize, 0);
  }
  return *this;
}

std::string MappedFile::map(const std::string& path, int64_t offsetBytes, int64_t sizeBytes) {
  unmap();
  const FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0)
    return std::strerror(errno);
  struct stat status {};
  if (::fstat(file.value, &status) != 0)
    return std::strerror(errno);
  if (!S_ISREG(status.st_mode))
    return "not a regular file";
  const int64_t fileSize = status.st_size;
  if (offsetBytes < 0 || offsetBytes > fileSize)
    return "the range starts outside the file of " + std::to_string(fileSize) + " bytes";
  const int64_t wanted = sizeBytes < 0 ? fileSize - offsetBytes : sizeBytes;
  if (wanted > fileSize - offsetBytes)
    return "the range ends outside the file of " + std::to_string(fileSize) + " bytes";
  mSize = static_cast<size_t>(wanted);
  if (mSize == 0)
    return {};
  const int64_t pageSize = ::sysconf(_SC_PAGESIZE);
  const int64_t start = offsetBytes / pageSize * pageSize;
  mSkip = static_cast<size_t>(offsetBytes - start);
  mMapped = mSkip + mSize;
  void* base = ::mmap(nullptr, mMapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.value, start);
  // Systems that count every writable page as used (vm.overcommit_memory = 2) refuse that for large files.
  if (base == MAP_FAILED && errno == ENOMEM)
    base = ::mmap(nullptr, mMapped, PROT_READ, MAP_PRIVATE, file.value, start);
  if (base == MAP_FAILED) {
    const std::string reason = std::strerror(errno);
    mMapped = mSkip = mSize = 0;
    return reason;
  }
  mBase = static_cast<uint8_t*>(base);
  return {};
}

void MappedFile::unmap() noexcept {
  if (mBase != nullptr)
    ::munmap(mBase, mMapped);
  mBase = nullptr;
  mMapped = mSkip = mSize = 0;
}

} // namespace scenebus
