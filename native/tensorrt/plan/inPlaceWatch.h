#pragma once
#include "gpu/driver/device.h"

#include <cstdint>

namespace scenebus::tensorrt {

/**
 * Whether K/V are written where the sequence's memory is. Plugins declare it and TensorRT promises it, but a plan in which
 * it put copies of whole caches before or behind a plugin computes the same, only slower with every position of context.
 * While one lives on a thread, plugins that this thread starts tell it where they read and write. Not nested.
 */
class InPlaceWatch {
 public:
  InPlaceWatch(cuda::DevicePointer begin, std::uint64_t sizeBytes) : mBegin(begin), mSizeBytes(sizeBytes) {
    current() = this;
  }
  ~InPlaceWatch() { current() = nullptr; }
  InPlaceWatch(const InPlaceWatch&) = delete;
  InPlaceWatch& operator=(const InPlaceWatch&) = delete;

  /** Of one cache of one layer. Without a watch, as while TensorRT times a plugin, nothing is counted. */
  static void note(cuda::DevicePointer past, cuda::DevicePointer present) {
    InPlaceWatch* watch = current();
    if (watch != nullptr && (past != present || past < watch->mBegin || past >= watch->mBegin + watch->mSizeBytes))
      ++watch->mCopies;
  }

  /** Caches that were not where they should be, each a copy. */
  std::uint64_t copies() const { return mCopies; }

 private:
  static InPlaceWatch*& current() {
    static thread_local InPlaceWatch* watch = nullptr;
    return watch;
  }
  cuda::DevicePointer mBegin;
  std::uint64_t mSizeBytes, mCopies = 0;
};

} // namespace scenebus::tensorrt
