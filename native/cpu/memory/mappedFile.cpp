#include "cpu/memory/mappedFile.h"

#include "common/atomicFile.h"
#include "common/unmap.h"
#include "common/codedError.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace scenebus::cpu {

MappedFile::MappedFile(const std::string& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat facts {};
  if (!file.isOpen() || fstat(file.get(), &facts) != 0)
    throw CodedError("ERR_MODEL_NOT_FOUND", "cannot open " + path + ": " + std::strerror(errno));
  mSizeBytes = static_cast<std::size_t>(facts.st_size);
  if (mSizeBytes == 0)
    return;
  void* memory = mmap(nullptr, mSizeBytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED)
    throw CodedError("ERR_MODEL_NOT_FOUND", "cannot map " + path + ": " + std::strerror(errno));
  mData = static_cast<const std::uint8_t*>(memory);
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : mData(std::exchange(other.mData, nullptr)), mSizeBytes(std::exchange(other.mSizeBytes, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    mData = std::exchange(other.mData, nullptr);
    mSizeBytes = std::exchange(other.mSizeBytes, 0);
  }
  return *this;
}

void MappedFile::unmap() {
  if (mData != nullptr)
    unmapInPieces(const_cast<std::uint8_t*>(mData), mSizeBytes);
  mData = nullptr;
}

} // namespace scenebus::cpu
