#pragma once
#include "common/codedError.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

/**
 * What the product needs of a CUDA device, and no more. `driverDevice.cpp` is the real one; the tests have one in host
 * memory (`native/tests/gpu/emulation`). Every call but the `release…` and `destroy…` ones throws `CudaError`.
 */
namespace scenebus::cuda {

/** CUdeviceptr; in the emulation an address in host memory. */
using DevicePointer = std::uint64_t;
/** CUstream, which is cudaStream_t. */
using Stream = void*;
/** CUevent. */
using Event = void*;

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

struct DeviceInfo {
  std::string name;
  int smMajor = 0;
  int smMinor = 0;
  int smCount = 0;
  std::uint64_t totalBytes = 0;
  /** As the driver counts: 12060 is CUDA 12.6. */
  int driverVersion = 0;
  /** Shares its memory with the processor, as on a Jetson. */
  bool integrated = false;
  /** Most dynamic shared memory that one block may ask for. */
  int sharedBytesPerBlock = 0;
};

/**
 * `code` is one of sdk/core/errors.ts: ERR_ENGINE_OUT_OF_MEMORY, ERR_ENGINE_FAILED, ERR_NATIVE_UNAVAILABLE, or
 * ERR_ENGINE_DIED where only a new process can use the device again.
 */
class CudaError : public CodedError {
 public:
  using CodedError::CodedError;
};

/** `arguments[i]` points at the value of the i-th parameter; the values are copied before `launch` returns. */
struct KernelCall {
  const char* name = nullptr;
  Dim3 grid;
  Dim3 block;
  /** Dynamic shared memory; above 48 KB the device opts in by itself. */
  unsigned sharedBytes = 0;
  void** arguments = nullptr;
};

class GraphExec {
 public:
  virtual ~GraphExec() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual std::uint64_t freeBytes() = 0;
  /** Makes the device's context current on the calling thread; every thread does so before it makes other calls. */
  virtual void makeCurrent() = 0;

  /** Aligned to 256 bytes; ERR_ENGINE_OUT_OF_MEMORY when there is no room. */
  virtual DevicePointer allocate(std::size_t bytes) = 0;
  virtual void release(DevicePointer) noexcept = 0;
  /** Whether only copies and kernels reach the address; false for memory of the processor. */
  virtual bool isDeviceMemory(DevicePointer address) = 0;
  virtual void* allocatePinned(std::size_t bytes) = 0;
  virtual void releasePinned(void*) noexcept = 0;

  virtual Stream createStream() = 0;
  virtual void destroyStream(Stream) noexcept = 0;
  virtual void synchronize(Stream) = 0;

  // In stream order. Host memory must stay valid until the stream has been synchronised.
  virtual void copyToDevice(DevicePointer to, const void* from, std::size_t bytes, Stream) = 0;
  virtual void copyToHost(void* to, DevicePointer from, std::size_t bytes, Stream) = 0;
  virtual void copyOnDevice(DevicePointer to, DevicePointer from, std::size_t bytes, Stream) = 0;
  virtual void fill(DevicePointer to, std::uint8_t value, std::size_t bytes, Stream) = 0;

  /** False where the addon was built without nvcc: then `launch` throws ERR_NATIVE_UNAVAILABLE. */
  virtual bool hasKernels() const = 0;
  virtual void launch(const KernelCall&, Stream) = 0;

  /**
   * Records what `work` puts into the stream, without running it. `work` neither allocates nor synchronises, and has run
   * once outside a capture before: kernels are loaded at their first launch, which a capture does not allow.
   */
  virtual std::unique_ptr<GraphExec> capture(Stream, const std::function<void()>& work) = 0;
  virtual void launchGraph(GraphExec&, Stream) = 0;

  // For measurements.
  virtual Event createEvent() = 0;
  virtual void destroyEvent(Event) noexcept = 0;
  virtual void recordEvent(Event, Stream) = 0;
  /** Waits for `end`. */
  virtual double elapsedMs(Event begin, Event end) = 0;
};

/**
 * The device through libcuda.so.1, which is looked for at run time: nothing of CUDA is linked. Uses the primary context,
 * which is the one that TensorRT works in. ERR_NATIVE_UNAVAILABLE says which file or device is missing.
 */
std::unique_ptr<Device> openDevice(int ordinal = 0);

/** Device memory that is released with its owner. */
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device& device, std::size_t bytes) : mDevice(&device), mPointer(device.allocate(bytes)), mBytes(bytes) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~DeviceBuffer() {
    if (mDevice != nullptr)
      mDevice->release(mPointer);
  }
  DevicePointer get() const { return mPointer; }
  std::size_t bytes() const { return mBytes; }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(mDevice, other.mDevice);
    std::swap(mPointer, other.mPointer);
    std::swap(mBytes, other.mBytes);
  }

  Device* mDevice = nullptr;
  DevicePointer mPointer = 0;
  std::size_t mBytes = 0;
};

} // namespace scenebus::cuda
