#pragma once
#include "common/cancelFlag.h"
#include "common/fileDescriptor.h"

#include <cstdint>
#include <functional>
#include <string>

/**
 * Files that are made once and kept: they appear whole (a rename) and by one process at a time (a lock beside them).
 * Failures are `CodedError`: ERR_DISK_FULL without room, ERR_CONFIG_INVALID when the place cannot be written.
 */
namespace scenebus {

/** @param what in words: "the packed weights" */
[[noreturn]] void failWriting(const std::string& what, const std::string& path, int error);

/**
 * Holds `<path>.lock` until destroyed; waits for another holder. The system frees the lock when its holder dies, so a
 * killed preparation blocks nobody.
 */
class FileLock {
 public:
  /**
   * @param onWait called once when somebody else holds the lock
   * @throws Aborted
   */
  FileLock(const std::string& what, const std::string& path, CancelFlag abort,
           const std::function<void()>& onWait = nullptr);

 private:
  FileDescriptor mFile;
};

/** `<path>.partial`, which becomes `path` by `commit` and is removed by the destructor otherwise. */
class PartialFile {
 public:
  PartialFile(std::string what, std::string path);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  int descriptor() const { return mFile.get(); }
  /** Reserves room at once, so that writing, also through a mapping, cannot fail for want of it later. */
  void reserve(std::uint64_t sizeBytes);
  void write(const void* data, std::size_t sizeBytes, std::uint64_t offsetBytes);
  /** Contents on the disk, then the rename. */
  void commit();
  [[noreturn]] void fail(int error) const { failWriting(mWhat, mPath, error); }

 private:
  std::string mWhat, mPath, mPartialPath;
  FileDescriptor mFile;
};

} // namespace scenebus
