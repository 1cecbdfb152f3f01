#pragma once
#include "gpu/driver/device.h"
#include "tests/gpu/emulation/blockRunner.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

namespace scenebus::emulation {

/** What a test can make fail. */
enum class Operation { kAllocate, kAllocatePinned, kCopy, kFill, kLaunch, kCapture, kLaunchGraph, kSynchronize };

/**
 * A device in host memory. Work runs at once when it is put into a stream, kernels come from the registry. Memory is
 * NaN until written and has guard zones, which are checked after every launch and on release; copies and fills outside
 * an allocation, foreign streams and calls that a capture forbids throw std::logic_error. For one thread at a time.
 */
class EmulatedDevice final : public cuda::Device {
 public:
  explicit EmulatedDevice(std::uint64_t memoryBytes = std::uint64_t{1} << 30);
  ~EmulatedDevice() override;

  // What a test sets and asks.
  cuda::DeviceInfo& editableInfo() { return mInfo; }
  void limitMemory(std::uint64_t bytes) { mInfo.totalBytes = bytes; }
  /** The `nth` call from now (1 is the next) throws `code`; later ones succeed again. */
  void failAt(Operation operation, int nth, const std::string& code = "ERR_ENGINE_FAILED");
  int count(Operation operation) const;
  std::uint64_t usedBytes() const { return mUsedBytes; }
  std::size_t liveAllocations() const { return mAllocations.size(); }
  std::size_t liveStreams() const { return mStreams.size(); }
  std::size_t livePinned() const { return mPinned.size(); }
  void setOrder(Order order) { mOrder = order; }
  void setKernels(bool available) { mHasKernels = available; }

  const cuda::DeviceInfo& info() const override { return mInfo; }
  std::uint64_t freeBytes() override { return mInfo.totalBytes - std::min(mInfo.totalBytes, mUsedBytes); }
  void makeCurrent() override {}
  cuda::DevicePointer allocate(std::size_t bytes) override;
  void release(cuda::DevicePointer) noexcept override;
  bool isDeviceMemory(cuda::DevicePointer address) override;
  void* allocatePinned(std::size_t bytes) override;
  void releasePinned(void*) noexcept override;
  cuda::Stream createStream() override;
  void destroyStream(cuda::Stream) noexcept override;
  void synchronize(cuda::Stream) override;
  void copyToDevice(cuda::DevicePointer to, const void* from, std::size_t bytes, cuda::Stream) override;
  void copyToHost(void* to, cuda::DevicePointer from, std::size_t bytes, cuda::Stream) override;
  void copyOnDevice(cuda::DevicePointer to, cuda::DevicePointer from, std::size_t bytes, cuda::Stream) override;
  void fill(cuda::DevicePointer to, std::uint8_t value, std::size_t bytes, cuda::Stream) override;
  bool hasKernels() const override { return mHasKernels; }
  void launch(const cuda::KernelCall&, cuda::Stream) override;
  std::unique_ptr<cuda::GraphExec> capture(cuda::Stream, const std::function<void()>& work) override;
  void launchGraph(cuda::GraphExec&, cuda::Stream) override;
  cuda::Event createEvent() override;
  void destroyEvent(cuda::Event) noexcept override;
  void recordEvent(cuda::Event, cuda::Stream) override;
  double elapsedMs(cuda::Event begin, cuda::Event end) override;

  /** Throws unless `[address, address + bytes)` lies in one allocation and `address` is a multiple of `alignment`. */
  void checkAccess(const void* address, std::size_t bytes, std::size_t alignment) const;
  void checkGuards() const;

 private:
  struct Allocation {
    unsigned char* base = nullptr;
    std::size_t bytes = 0;
  };
  struct Failure {
    int countdown = 0;
    std::string code;
  };

  void countOrFail(Operation operation, const char* what);
  void checkStream(cuda::Stream stream) const;
  void checkRange(cuda::DevicePointer pointer, std::size_t bytes) const;
  void forbidInCapture(const char* what) const;
  void submit(cuda::Stream stream, std::function<void()> work);

  cuda::DeviceInfo mInfo;
  std::uint64_t mUsedBytes = 0;
  std::map<cuda::DevicePointer, Allocation> mAllocations;
  std::set<cuda::Stream> mStreams;
  std::set<void*> mPinned;
  std::map<Operation, int> mCounts;
  std::map<Operation, Failure> mFailures;
  cuda::Stream mCapturing = nullptr;
  std::vector<std::function<void()>> mRecorded;
  BlockRunner mRunner;
  Order mOrder = Order::kForward;
  bool mHasKernels = true;
};

/** The device whose kernel runs now; null outside. */
const EmulatedDevice* launchingDevice();

} // namespace scenebus::emulation
