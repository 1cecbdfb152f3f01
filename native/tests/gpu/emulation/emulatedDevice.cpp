#include "tests/gpu/emulation/emulatedDevice.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) (static_cast<void>(address), static_cast<void>(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) (static_cast<void>(address), static_cast<void>(bytes))
#endif

namespace scenebus::emulation {
namespace {

constexpr std::size_t kGuardBytes = 256; // also what the driver aligns to
constexpr unsigned char kGuardByte = 0xa5;
constexpr unsigned char kUnwritten = 0xff;

thread_local const EmulatedDevice* launching = nullptr;

class EmulatedGraph final : public cuda::GraphExec {
 public:
  std::vector<std::function<void()>> work;
};

using Clock = std::chrono::steady_clock;

bool isWhole(const unsigned char* guard, std::size_t bytes) {
  return std::all_of(guard, guard + bytes, [](unsigned char byte) { return byte == kGuardByte; });
}

} // namespace

const EmulatedDevice* launchingDevice() { return launching; }

EmulatedDevice::EmulatedDevice(std::uint64_t memoryBytes) {
  mInfo.name = "emulated device";
  mInfo.smMajor = 8;
  mInfo.smMinor = 7;
  mInfo.smCount = 16;
  mInfo.totalBytes = memoryBytes;
  mInfo.driverVersion = 12060;
  mInfo.integrated = true;
  // What the smallest of the supported devices (sm_86, sm_89) allows.
  mInfo.sharedBytesPerBlock = 99 * 1024;
}

EmulatedDevice::~EmulatedDevice() {
  while (!mAllocations.empty())
    release(mAllocations.begin()->first);
  while (!mPinned.empty())
    releasePinned(*mPinned.begin());
  for (auto* stream : mStreams)
    std::free(stream);
}

void EmulatedDevice::failAt(Operation operation, int nth, const std::string& code) { mFailures[operation] = {nth, code}; }

int EmulatedDevice::count(Operation operation) const {
  const auto found = mCounts.find(operation);
  return found == mCounts.end() ? 0 : found->second;
}

void EmulatedDevice::countOrFail(Operation operation, const char* what) {
  ++mCounts[operation];
  const auto found = mFailures.find(operation);
  if (found == mFailures.end() || --found->second.countdown > 0)
    return;
  const std::string code = found->second.code;
  mFailures.erase(found);
  throw cuda::CudaError(code, std::string(what) + " failed: injected by the test");
}

void EmulatedDevice::forbidInCapture(const char* what) const {
  if (mCapturing != nullptr)
    throw std::logic_error(std::string(what) + " is not allowed during a capture");
}

void EmulatedDevice::checkStream(cuda::Stream stream) const {
  if (mStreams.count(stream) == 0)
    throw std::logic_error("not a stream of this device");
  if (mCapturing != nullptr && stream != mCapturing)
    throw std::logic_error("work on another stream during a capture");
}

void EmulatedDevice::checkAccess(const void* address, std::size_t bytes, std::size_t alignment) const {
  const auto pointer = reinterpret_cast<cuda::DevicePointer>(address);
  if (pointer % alignment != 0)
    throw std::logic_error("access of " + std::to_string(bytes) + " bytes is not aligned to " +
                           std::to_string(alignment));
  checkRange(pointer, bytes);
}

void EmulatedDevice::checkRange(cuda::DevicePointer pointer, std::size_t bytes) const {
  auto after = mAllocations.upper_bound(pointer);
  if (after != mAllocations.begin()) {
    const auto& [start, allocation] = *--after;
    if (pointer - start <= allocation.bytes && bytes <= allocation.bytes - (pointer - start))
      return;
  }
  throw std::logic_error("access of " + std::to_string(bytes) + " bytes outside device memory");
}

void EmulatedDevice::checkGuards() const {
  for (const auto& [start, allocation] : mAllocations) {
    auto* data = allocation.base + kGuardBytes;
    ASAN_UNPOISON_MEMORY_REGION(allocation.base, kGuardBytes);
    ASAN_UNPOISON_MEMORY_REGION(data + allocation.bytes, kGuardBytes);
    const bool whole = isWhole(allocation.base, kGuardBytes) && isWhole(data + allocation.bytes, kGuardBytes);
    ASAN_POISON_MEMORY_REGION(allocation.base, kGuardBytes);
    ASAN_POISON_MEMORY_REGION(data + allocation.bytes, kGuardBytes);
    if (!whole)
      throw std::logic_error("a write went beyond an allocation of " + std::to_string(allocation.bytes) + " bytes");
  }
}

cuda::DevicePointer EmulatedDevice::allocate(std::size_t bytes) {
  forbidInCapture("allocating");
  countOrFail(Operation::kAllocate, "allocating device memory");
  if (bytes > freeBytes())
    throw cuda::CudaError("ERR_ENGINE_OUT_OF_MEMORY", "allocating " + std::to_string(bytes) +
                                                          " bytes of device memory failed: " +
                                                          std::to_string(freeBytes()) + " are free");
  const std::size_t padded = (bytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes;
  auto* base = static_cast<unsigned char*>(std::aligned_alloc(kGuardBytes, padded + 2 * kGuardBytes));
  if (base == nullptr)
    throw cuda::CudaError("ERR_ENGINE_OUT_OF_MEMORY", "the host has no memory for the emulated device");
  auto* data = base + kGuardBytes;
  std::memset(base, kGuardByte, kGuardBytes);
  std::memset(data, kUnwritten, bytes);
  std::memset(data + bytes, kGuardByte, kGuardBytes);
  ASAN_POISON_MEMORY_REGION(base, kGuardBytes);
  ASAN_POISON_MEMORY_REGION(data + bytes, kGuardBytes);
  const auto pointer = reinterpret_cast<cuda::DevicePointer>(data);
  mAllocations[pointer] = {base, bytes};
  mUsedBytes += bytes;
  return pointer;
}

void EmulatedDevice::release(cuda::DevicePointer pointer) noexcept {
  const auto found = mAllocations.find(pointer);
  if (pointer == 0)
    return;
  if (found == mAllocations.end())
    std::abort(); // a double release; nothing to throw from here
  const Allocation allocation = found->second;
  auto* data = allocation.base + kGuardBytes;
  ASAN_UNPOISON_MEMORY_REGION(allocation.base, kGuardBytes);
  ASAN_UNPOISON_MEMORY_REGION(data + allocation.bytes, kGuardBytes);
  mUsedBytes -= allocation.bytes;
  mAllocations.erase(found);
  std::free(allocation.base);
}

bool EmulatedDevice::isDeviceMemory(cuda::DevicePointer address) {
  const auto after = mAllocations.upper_bound(address);
  return after != mAllocations.begin() && address < std::prev(after)->first + std::prev(after)->second.bytes;
}

void* EmulatedDevice::allocatePinned(std::size_t bytes) {
  forbidInCapture("allocating pinned memory");
  countOrFail(Operation::kAllocatePinned, "allocating pinned memory");
  void* pointer = std::malloc(bytes == 0 ? 1 : bytes);
  mPinned.insert(pointer);
  return pointer;
}

void EmulatedDevice::releasePinned(void* pointer) noexcept {
  if (pointer == nullptr)
    return;
  if (mPinned.erase(pointer) == 0)
    std::abort();
  std::free(pointer);
}

cuda::Stream EmulatedDevice::createStream() {
  forbidInCapture("creating a stream");
  auto* stream = std::malloc(1); // only its address matters
  mStreams.insert(stream);
  return stream;
}

void EmulatedDevice::destroyStream(cuda::Stream stream) noexcept {
  if (mStreams.erase(stream) == 0)
    std::abort();
  std::free(stream);
}

void EmulatedDevice::synchronize(cuda::Stream stream) {
  forbidInCapture("synchronising");
  checkStream(stream);
  countOrFail(Operation::kSynchronize, "work on the device");
}

void EmulatedDevice::submit(cuda::Stream stream, std::function<void()> work) {
  checkStream(stream);
  if (mCapturing != nullptr)
    mRecorded.push_back(std::move(work));
  else
    work();
}

void EmulatedDevice::copyToDevice(cuda::DevicePointer to, const void* from, std::size_t bytes, cuda::Stream stream) {
  countOrFail(Operation::kCopy, "copying to the device");
  checkRange(to, bytes);
  submit(stream, [=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
}

void EmulatedDevice::copyToHost(void* to, cuda::DevicePointer from, std::size_t bytes, cuda::Stream stream) {
  countOrFail(Operation::kCopy, "copying from the device");
  checkRange(from, bytes);
  submit(stream, [=] { std::memcpy(to, reinterpret_cast<const void*>(from), bytes); });
}

void EmulatedDevice::copyOnDevice(cuda::DevicePointer to, cuda::DevicePointer from, std::size_t bytes,
                                  cuda::Stream stream) {
  countOrFail(Operation::kCopy, "copying on the device");
  checkRange(to, bytes);
  checkRange(from, bytes);
  submit(stream, [=] { std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes); });
}

void EmulatedDevice::fill(cuda::DevicePointer to, std::uint8_t value, std::size_t bytes, cuda::Stream stream) {
  countOrFail(Operation::kFill, "filling device memory");
  checkRange(to, bytes);
  submit(stream, [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
}

void EmulatedDevice::launch(const cuda::KernelCall& call, cuda::Stream stream) {
  countOrFail(Operation::kLaunch, call.name);
  if (!mHasKernels)
    throw cuda::CudaError("ERR_NATIVE_UNAVAILABLE", "the CUDA kernels were not compiled into this build");
  const auto found = kernelRegistry().find(call.name);
  if (found == kernelRegistry().end())
    throw cuda::CudaError("ERR_ENGINE_FAILED", std::string("finding the kernel ") + call.name + " failed");
  const KernelEntry& entry = found->second;
  cuda::KernelCall copied = call;
  copied.name = found->first.c_str();
  copied.arguments = nullptr;
  submit(stream, [this, copied, &entry, bound = entry.bind(call.arguments)] {
    launching = this;
    try {
      mRunner.run(copied, entry.maxThreads, static_cast<unsigned>(mInfo.sharedBytesPerBlock), bound, mOrder);
    } catch (...) {
      launching = nullptr;
      throw;
    }
    launching = nullptr;
    checkGuards();
  });
}

std::unique_ptr<cuda::GraphExec> EmulatedDevice::capture(cuda::Stream stream, const std::function<void()>& work) {
  forbidInCapture("a capture");
  checkStream(stream);
  countOrFail(Operation::kCapture, "capturing a graph");
  mCapturing = stream;
  try {
    work();
  } catch (...) {
    mCapturing = nullptr;
    mRecorded.clear();
    throw;
  }
  mCapturing = nullptr;
  auto graph = std::make_unique<EmulatedGraph>();
  graph->work.swap(mRecorded);
  return graph;
}

void EmulatedDevice::launchGraph(cuda::GraphExec& graph, cuda::Stream stream) {
  forbidInCapture("launching a graph");
  checkStream(stream);
  countOrFail(Operation::kLaunchGraph, "launching a graph");
  for (const auto& step : dynamic_cast<EmulatedGraph&>(graph).work)
    step();
}

cuda::Event EmulatedDevice::createEvent() { return new Clock::time_point(); }

void EmulatedDevice::destroyEvent(cuda::Event event) noexcept { delete static_cast<Clock::time_point*>(event); }

void EmulatedDevice::recordEvent(cuda::Event event, cuda::Stream stream) {
  submit(stream, [event] { *static_cast<Clock::time_point*>(event) = Clock::now(); });
}

double EmulatedDevice::elapsedMs(cuda::Event begin, cuda::Event end) {
  return std::chrono::duration<double, std::milli>(*static_cast<Clock::time_point*>(end) -
                                                   *static_cast<Clock::time_point*>(begin))
      .count();
}

} // namespace scenebus::emulation
