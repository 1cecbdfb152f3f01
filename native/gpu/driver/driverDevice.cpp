#include "gpu/driver/driverDevice.h"

#include "gpu/driver/deviceAccess.h"
#include "gpu/driver/kernelImage.h"

#include <cstdlib>

namespace scenebus::cuda {
namespace {

using namespace driver;

class DriverGraph final : public GraphExec {
 public:
  DriverGraph(const Api& api, GraphExecHandle handle) : mApi(api), mHandle(handle) {}
  ~DriverGraph() override { mApi.graphExecDestroy(mHandle); }
  GraphExecHandle handle() const { return mHandle; }

 private:
  const Api& mApi;
  GraphExecHandle mHandle;
};

std::string megabytes(std::size_t bytes) { return std::to_string(bytes / (1024 * 1024)) + " MB"; }

} // namespace

void DriverDevice::check(Result result, const std::string& what) const {
  if (result == kSuccess)
    return;
  const char* name = nullptr;
  const char* text = nullptr;
  mApi.getErrorName(result, &name);
  mApi.getErrorString(result, &text);
  throw CudaError(driver::codeOf(result),
                  what + " failed: " + (name != nullptr ? name : "CUDA error " + std::to_string(result)) +
                      (text != nullptr ? std::string(" (") + text + ")" : ""));
}

DriverDevice::DriverDevice(const Api& api, int ordinal) : mApi(api) {
  // Kernels are loaded when first used: saves several hundred MB of host memory beside TensorRT. An operator's own
  // setting wins.
  setenv("CUDA_MODULE_LOADING", "LAZY", 0);
  const Result started = mApi.init(0);
  int count = 0;
  if (started == kErrorNoDevice || (started == kSuccess && mApi.deviceGetCount(&count) == kSuccess && count == 0))
    throw CudaError("ERR_NATIVE_UNAVAILABLE",
                    "libcuda.so.1 was found, but it sees no NVIDIA device; in a container, start it with the NVIDIA "
                    "runtime (--runtime nvidia)");
  if (started == kErrorNotSupported)
    throw CudaError("ERR_NATIVE_UNAVAILABLE",
                    "libcuda.so.1 was found, but cuInit failed: CUDA_ERROR_NOT_SUPPORTED (801); " +
                        describeRefusal(closedDevices()));
  if (started != kSuccess) {
    const char* name = nullptr;
    mApi.getErrorName(started, &name);
    throw CudaError("ERR_NATIVE_UNAVAILABLE", std::string("libcuda.so.1 was found, but cuInit failed: ") +
                                                  (name != nullptr ? name : std::to_string(started)) +
                                                  "; the driver in the kernel and the library must be of one version");
  }
  if (ordinal < 0 || ordinal >= count)
    throw CudaError("ERR_NATIVE_UNAVAILABLE", "CUDA device " + std::to_string(ordinal) +
                                                  " was asked for, but this machine has " + std::to_string(count));
  check(mApi.deviceGet(&mDevice, ordinal), "cuDeviceGet");
  char name[256] = {};
  check(mApi.deviceGetName(name, sizeof(name) - 1, mDevice), "cuDeviceGetName");
  mInfo.name = name;
  const auto attribute = [&](int which) {
    int value = 0;
    check(mApi.deviceGetAttribute(&value, which, mDevice), "cuDeviceGetAttribute");
    return value;
  };
  mInfo.smMajor = attribute(kAttributeComputeMajor);
  mInfo.smMinor = attribute(kAttributeComputeMinor);
  mInfo.smCount = attribute(kAttributeMultiprocessorCount);
  mInfo.integrated = attribute(kAttributeIntegrated) != 0;
  mInfo.sharedBytesPerBlock = attribute(kAttributeSharedPerBlockOptIn);
  std::size_t total = 0;
  check(mApi.deviceTotalMem(&total, mDevice), "cuDeviceTotalMem");
  mInfo.totalBytes = total;
  check(mApi.driverGetVersion(&mInfo.driverVersion), "cuDriverGetVersion");
  check(mApi.primaryContextRetain(&mContext, mDevice), "cuDevicePrimaryCtxRetain");
  const Result current = mApi.contextSetCurrent(mContext);
  if (current != kSuccess)
    mApi.primaryContextRelease(mDevice);
  check(current, "cuCtxSetCurrent");
}

DriverDevice::~DriverDevice() {
  if (mApi.contextSetCurrent(mContext) == kSuccess)
    for (auto* module : mModules)
      mApi.moduleUnload(module);
  mApi.primaryContextRelease(mDevice);
}

std::uint64_t DriverDevice::freeBytes() {
  std::size_t free = 0, total = 0;
  check(mApi.memGetInfo(&free, &total), "cuMemGetInfo");
  return free;
}

void DriverDevice::makeCurrent() { check(mApi.contextSetCurrent(mContext), "cuCtxSetCurrent"); }

DevicePointer DriverDevice::allocate(std::size_t bytes) {
  Pointer pointer = 0;
  // Nothing is a valid size for us; the driver rejects it.
  check(mApi.memAlloc(&pointer, bytes == 0 ? 1 : bytes), "allocating " + megabytes(bytes) + " of device memory");
  return pointer;
}

void DriverDevice::release(DevicePointer pointer) noexcept {
  if (pointer != 0)
    mApi.memFree(pointer);
}

bool DriverDevice::isDeviceMemory(DevicePointer address) {
  unsigned type = driver::kMemoryTypeHost;
  // Memory that CUDA never saw is the processor's own, and the driver refuses to speak of it.
  return mApi.pointerGetAttribute(&type, driver::kPointerMemoryType, address) == driver::kSuccess &&
         type != driver::kMemoryTypeHost;
}

void* DriverDevice::allocatePinned(std::size_t bytes) {
  void* pointer = nullptr;
  check(mApi.memHostAlloc(&pointer, bytes == 0 ? 1 : bytes, 0), "allocating " + megabytes(bytes) + " of pinned memory");
  return pointer;
}

void DriverDevice::releasePinned(void* pointer) noexcept {
  if (pointer != nullptr)
    mApi.memFreeHost(pointer);
}

Stream DriverDevice::createStream() {
  Stream stream = nullptr;
  check(mApi.streamCreate(&stream, kStreamNonBlocking), "cuStreamCreate");
  return stream;
}

void DriverDevice::destroyStream(Stream stream) noexcept { mApi.streamDestroy(stream); }

void DriverDevice::synchronize(Stream stream) { check(mApi.streamSynchronize(stream), "work on the device"); }

void DriverDevice::copyToDevice(DevicePointer to, const void* from, std::size_t bytes, Stream stream) {
  check(mApi.copyToDevice(to, from, bytes, stream), "copying " + std::to_string(bytes) + " bytes to the device");
}

void DriverDevice::copyToHost(void* to, DevicePointer from, std::size_t bytes, Stream stream) {
  check(mApi.copyToHost(to, from, bytes, stream), "copying " + std::to_string(bytes) + " bytes from the device");
}

void DriverDevice::copyOnDevice(DevicePointer to, DevicePointer from, std::size_t bytes, Stream stream) {
  check(mApi.copyOnDevice(to, from, bytes, stream), "copying " + std::to_string(bytes) + " bytes on the device");
}

void DriverDevice::fill(DevicePointer to, std::uint8_t value, std::size_t bytes, Stream stream) {
  check(mApi.memset8(to, value, bytes, stream), "filling " + std::to_string(bytes) + " bytes on the device");
}

bool DriverDevice::hasKernels() const { return !kernelImages().images.empty(); }

DriverDevice::LoadedFunction& DriverDevice::function(const char* name) {
  const std::lock_guard<std::mutex> lock(mFunctionsMutex);
  if (const auto found = mFunctions.find(std::string_view(name)); found != mFunctions.end())
    return found->second;
  const KernelImages& all = kernelImages();
  if (all.images.empty())
    throw CudaError("ERR_NATIVE_UNAVAILABLE",
                    std::string("the CUDA kernels were not compiled into this build: ") + all.description);
  for (std::size_t i = 0; i < all.images.size(); ++i) {
    if (i == mModules.size()) {
      Module module = nullptr;
      const Result result = mApi.moduleLoadData(&module, all.images[i].data);
      if (result == kErrorNoBinaryForGpu || result == kErrorUnsupportedPtx)
        throw CudaError("ERR_NATIVE_UNAVAILABLE", mInfo.name + " is sm_" + std::to_string(mInfo.smMajor) +
                                                      std::to_string(mInfo.smMinor) +
                                                      ", but the kernels were compiled for " + all.description +
                                                      "; build on this machine, with its own CUDA toolkit and "
                                                      "-DSCENEBUS_CUDA_ARCHITECTURES=" +
                                                      std::to_string(mInfo.smMajor) + std::to_string(mInfo.smMinor));
      check(result, "loading the CUDA kernels");
      mModules.push_back(module);
    }
    LoadedFunction loaded;
    const Result found = mApi.moduleGetFunction(&loaded.handle, mModules[i], name);
    if (found == kErrorNotFound)
      continue;
    check(found, std::string("finding the kernel ") + name);
    return mFunctions.emplace(name, loaded).first->second;
  }
  throw CudaError("ERR_ENGINE_FAILED", std::string("this build has no kernel ") + name);
}

void DriverDevice::launch(const KernelCall& call, Stream stream) {
  LoadedFunction& kernel = function(call.name);
  if (std::unique_lock<std::mutex> lock(mFunctionsMutex); call.sharedBytes > kernel.sharedBytes) {
    check(mApi.functionSetAttribute(kernel.handle, kFunctionMaxDynamicShared, static_cast<int>(call.sharedBytes)),
          std::string("giving ") + call.name + " " + std::to_string(call.sharedBytes) + " bytes of shared memory");
    kernel.sharedBytes = call.sharedBytes;
  }
  check(mApi.launchKernel(kernel.handle, call.grid.x, call.grid.y, call.grid.z, call.block.x, call.block.y,
                          call.block.z, call.sharedBytes, stream, call.arguments, nullptr),
        std::string("launching ") + call.name);
}

std::unique_ptr<GraphExec> DriverDevice::capture(Stream stream, const std::function<void()>& work) {
  check(mApi.streamBeginCapture(stream, kCaptureThreadLocal), "cuStreamBeginCapture");
  Graph graph = nullptr;
  try {
    work();
  } catch (...) {
    // The stream must leave capture mode whatever happened.
    if (mApi.streamEndCapture(stream, &graph) == kSuccess && graph != nullptr)
      mApi.graphDestroy(graph);
    throw;
  }
  check(mApi.streamEndCapture(stream, &graph), "cuStreamEndCapture");
  GraphExecHandle handle = nullptr;
  const Result instantiated = mApi.graphInstantiate(&handle, graph, 0);
  mApi.graphDestroy(graph);
  check(instantiated, "cuGraphInstantiate");
  return std::make_unique<DriverGraph>(mApi, handle);
}

void DriverDevice::launchGraph(GraphExec& graph, Stream stream) {
  check(mApi.graphLaunch(dynamic_cast<DriverGraph&>(graph).handle(), stream), "cuGraphLaunch");
}

Event DriverDevice::createEvent() {
  Event event = nullptr;
  check(mApi.eventCreate(&event, 0), "cuEventCreate");
  return event;
}

void DriverDevice::destroyEvent(Event event) noexcept { mApi.eventDestroy(event); }

void DriverDevice::recordEvent(Event event, Stream stream) { check(mApi.eventRecord(event, stream), "cuEventRecord"); }

double DriverDevice::elapsedMs(Event begin, Event end) {
  check(mApi.eventSynchronize(end), "cuEventSynchronize");
  float elapsed = 0;
  check(mApi.eventElapsedTime(&elapsed, begin, end), "cuEventElapsedTime");
  return elapsed;
}

std::unique_ptr<Device> openDevice(int ordinal) { return std::make_unique<DriverDevice>(load(), ordinal); }

} // namespace scenebus::cuda
