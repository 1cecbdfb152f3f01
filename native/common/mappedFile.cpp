#include "common/mappedFile.h"

#include "common/codedError.h"
#include "common/fileDescriptor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace scenebus {
namespace {

void* mapPages(int descriptor, std::size_t sizeBytes, off_t offset, MappedFile::Pages pages) {
  if (pages == MappedFile::Pages::kShared)
    return mmap(nullptr, sizeBytes, PROT_READ, MAP_SHARED, descriptor, offset);
  void* memory =
      mmap(nullptr, sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, offset);
  // Systems that count every writable page as used (vm.overcommit_memory = 2) refuse that for large files.
  if (memory == MAP_FAILED && errno == ENOMEM)
    memory = mmap(nullptr, sizeBytes, PROT_READ, MAP_PRIVATE, descriptor, offset);
  return memory;
}

} // namespace

MappedFile::MappedFile(const std::string& what, const std::string& path, Range range, Pages pages) {
  const auto fail = [&](const char* code, const std::string& reason) {
    throw CodedError(code, "cannot map " + what + " at " + path + ": " + reason);
  };
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file.isOpen() || fstat(file.get(), &status) != 0)
    fail("ERR_MODEL_NOT_FOUND", std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    fail("ERR_MODEL_NOT_FOUND", "not a regular file");
  const std::int64_t fileBytes = status.st_size;
  const bool startsInside = range.offsetBytes >= 0 && range.offsetBytes <= fileBytes;
  if (!startsInside || range.sizeBytes > fileBytes - range.offsetBytes)
    fail("ERR_MODEL_INVALID", std::string("the range ") + (startsInside ? "ends" : "starts") +
                                  " outside the file of " + std::to_string(fileBytes) + " bytes");
  const std::int64_t wanted = range.sizeBytes < 0 ? fileBytes - range.offsetBytes : range.sizeBytes;
  if (wanted == 0)
    return;
  const std::int64_t pageBytes = sysconf(_SC_PAGESIZE);
  const std::int64_t start = range.offsetBytes / pageBytes * pageBytes;
  const auto skip = static_cast<std::size_t>(range.offsetBytes - start);
  const std::size_t mapped = skip + static_cast<std::size_t>(wanted);
  void* memory = mapPages(file.get(), mapped, start, pages);
  if (memory == MAP_FAILED)
    fail("ERR_MODEL_NOT_FOUND", std::strerror(errno));
  mMemory = MappedMemory(memory, mapped);
  mSkipBytes = skip;
  mSizeBytes = static_cast<std::size_t>(wanted);
}

} // namespace scenebus
