#include "common/atomicFile.h"

#include "common/codedError.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

namespace scenebus {

void failWriting(const std::string& what, const std::string& path, int error) {
  if (error == ENOSPC || error == EDQUOT)
    throw CodedError("ERR_DISK_FULL", "no room for " + what + " at " + path +
                                          "; free some space or choose another cacheDirectory");
  throw CodedError("ERR_CONFIG_INVALID", "cannot write " + what + " to " + path + ": " + std::strerror(error) +
                                             "; choose another cacheDirectory");
}

FileLock::FileLock(const std::string& what, const std::string& path, CancelFlag abort,
                   const std::function<void()>& onWait)
    : mFile(open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (!mFile.isOpen())
    failWriting(what, path, errno);
  bool isWaiting = false;
  while (flock(mFile.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      failWriting(what, path, errno);
    if (!isWaiting && onWait)
      onWait();
    isWaiting = true;
    abort.check();
    const timespec pause{0, 50'000'000};
    nanosleep(&pause, nullptr);
  }
}

PartialFile::PartialFile(std::string what, std::string path)
    : mWhat(std::move(what)), mPath(std::move(path)), mPartialPath(mPath + ".partial"),
      mFile(open(mPartialPath.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (!mFile.isOpen())
    fail(errno);
}

PartialFile::~PartialFile() {
  if (mFile.isOpen())
    unlink(mPartialPath.c_str()); // after the rename there is nothing to remove
}

void PartialFile::reserve(std::uint64_t sizeBytes) {
  if (const int error = posix_fallocate(mFile.get(), 0, static_cast<off_t>(sizeBytes)); error != 0)
    fail(error);
}

void PartialFile::write(const void* data, std::size_t sizeBytes, std::uint64_t offsetBytes) {
  const auto* bytes = static_cast<const char*>(data);
  while (sizeBytes > 0) {
    const ssize_t written = pwrite(mFile.get(), bytes, sizeBytes, static_cast<off_t>(offsetBytes));
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      fail(errno);
    bytes += written;
    offsetBytes += static_cast<std::uint64_t>(written);
    sizeBytes -= static_cast<std::size_t>(written);
  }
}

void PartialFile::commit() {
  if (fsync(mFile.get()) != 0 || rename(mPartialPath.c_str(), mPath.c_str()) != 0)
    fail(errno);
}

} // namespace scenebus
