#pragma once
#include <unistd.h>

#include <utility>

namespace scenebus {

/** A file descriptor that closes itself. Movable, not copyable. */
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : mDescriptor(descriptor) {}
  ~FileDescriptor() { close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : mDescriptor(std::exchange(other.mDescriptor, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(mDescriptor, other.mDescriptor);
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return mDescriptor; }
  /** Hands it to the caller, who closes it from now on. */
  int release() { return std::exchange(mDescriptor, -1); }
  bool isOpen() const { return mDescriptor >= 0; }
  void close() {
    if (isOpen())
      ::close(std::exchange(mDescriptor, -1));
  }

 private:
  int mDescriptor = -1;
};

} // namespace scenebus
