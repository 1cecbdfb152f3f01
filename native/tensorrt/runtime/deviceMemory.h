#pragma once
#include "gpu/driver/device.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace scenebus::tensorrt {

/** What every address that a kernel reads vectors from is a multiple of. */
constexpr std::uint64_t kDeviceAlignment = 256;

constexpr std::uint64_t alignDevice(std::uint64_t bytes) {
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

/** Places of named tensors within one allocation. */
class Layout {
 public:
  void add(const std::string& name, std::uint64_t sizeBytes) {
    mPlaces[name] = {mSizeBytes, sizeBytes};
    mSizeBytes += alignDevice(sizeBytes);
  }
  bool has(const std::string& name) const { return mPlaces.count(name) > 0; }
  std::uint64_t offsetOf(const std::string& name) const { return mPlaces.at(name).offset; }
  std::uint64_t sizeOf(const std::string& name) const { return mPlaces.at(name).sizeBytes; }
  std::uint64_t sizeBytes() const { return mSizeBytes; }

 private:
  struct Place {
    std::uint64_t offset, sizeBytes;
  };
  std::map<std::string, Place> mPlaces;
  std::uint64_t mSizeBytes = 0;
};

class StreamOwner {
 public:
  explicit StreamOwner(cuda::Device& device) : mDevice(device), mStream(device.createStream()) {}
  ~StreamOwner() { mDevice.destroyStream(mStream); }
  StreamOwner(const StreamOwner&) = delete;
  StreamOwner& operator=(const StreamOwner&) = delete;
  cuda::Stream get() const { return mStream; }

 private:
  cuda::Device& mDevice;
  cuda::Stream mStream;
};

class PinnedBuffer {
 public:
  PinnedBuffer(cuda::Device& device, std::size_t bytes) : mDevice(device), mData(device.allocatePinned(bytes)) {}
  ~PinnedBuffer() { mDevice.releasePinned(mData); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  void* get() const { return mData; }

 private:
  cuda::Device& mDevice;
  void* mData;
};

/** Equal pieces of device memory, taken once and used again. */
class SlotPool {
 public:
  SlotPool(cuda::Device& device, std::uint64_t slotBytes, int count) : mDevice(device), mSlotBytes(slotBytes) {
    for (int i = 0; i < count && slotBytes > 0; ++i)
      mFree.emplace_back(device, slotBytes);
  }

  /** At least `bytes`; a larger piece than a slot is taken for this once. */
  cuda::DeviceBuffer take(std::uint64_t bytes) {
    if (bytes <= mSlotBytes && !mFree.empty()) {
      cuda::DeviceBuffer slot = std::move(mFree.back());
      mFree.pop_back();
      return slot;
    }
    return cuda::DeviceBuffer(mDevice, bytes <= mSlotBytes ? mSlotBytes : bytes);
  }

  void give(cuda::DeviceBuffer buffer) {
    if (buffer.bytes() == mSlotBytes)
      mFree.push_back(std::move(buffer));
  }

 private:
  cuda::Device& mDevice;
  std::uint64_t mSlotBytes;
  std::vector<cuda::DeviceBuffer> mFree;
};

} // namespace scenebus::tensorrt
