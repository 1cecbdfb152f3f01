#include "gpu/driver/driverApi.h"

#include "gpu/driver/device.h"

#include <dlfcn.h>
#include <type_traits>

namespace scenebus::cuda::driver {

Api loadFrom(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw CudaError("ERR_NATIVE_UNAVAILABLE",
                    "the CUDA driver library " + library + " could not be opened (" +
                        (reason != nullptr ? reason : "no reason given") +
                        "); on a Jetson it comes with JetPack (package nvidia-l4t-cuda), elsewhere with the NVIDIA driver");
  }
  Api api{};
  const auto find = [&](auto& function, const char* name) {
    void* symbol = dlsym(handle, name);
    if (symbol == nullptr)
      throw CudaError("ERR_NATIVE_UNAVAILABLE", library + " has no " + name +
                                                    ": the NVIDIA driver is older than CUDA 11.4; JetPack 6.1 or later, "
                                                    "or a driver of 2022 or later, is needed");
    function = reinterpret_cast<std::decay_t<decltype(function)>>(symbol);
  };
  find(api.init, "cuInit");
  find(api.driverGetVersion, "cuDriverGetVersion");
  find(api.deviceGetCount, "cuDeviceGetCount");
  find(api.deviceGet, "cuDeviceGet");
  find(api.deviceGetName, "cuDeviceGetName");
  find(api.deviceGetAttribute, "cuDeviceGetAttribute");
  find(api.deviceTotalMem, "cuDeviceTotalMem_v2");
  find(api.primaryContextRetain, "cuDevicePrimaryCtxRetain");
  find(api.primaryContextRelease, "cuDevicePrimaryCtxRelease_v2");
  find(api.contextSetCurrent, "cuCtxSetCurrent");
  find(api.memGetInfo, "cuMemGetInfo_v2");
  find(api.memAlloc, "cuMemAlloc_v2");
  find(api.memFree, "cuMemFree_v2");
  find(api.pointerGetAttribute, "cuPointerGetAttribute");
  find(api.memHostAlloc, "cuMemHostAlloc");
  find(api.memFreeHost, "cuMemFreeHost");
  find(api.streamCreate, "cuStreamCreate");
  find(api.streamDestroy, "cuStreamDestroy_v2");
  find(api.streamSynchronize, "cuStreamSynchronize");
  find(api.copyToDevice, "cuMemcpyHtoDAsync_v2");
  find(api.copyToHost, "cuMemcpyDtoHAsync_v2");
  find(api.copyOnDevice, "cuMemcpyDtoDAsync_v2");
  find(api.memset8, "cuMemsetD8Async");
  find(api.moduleLoadData, "cuModuleLoadData");
  find(api.moduleUnload, "cuModuleUnload");
  find(api.moduleGetFunction, "cuModuleGetFunction");
  find(api.functionSetAttribute, "cuFuncSetAttribute");
  find(api.launchKernel, "cuLaunchKernel");
  find(api.streamBeginCapture, "cuStreamBeginCapture_v2");
  find(api.streamEndCapture, "cuStreamEndCapture");
  find(api.graphInstantiate, "cuGraphInstantiateWithFlags");
  find(api.graphLaunch, "cuGraphLaunch");
  find(api.graphExecDestroy, "cuGraphExecDestroy");
  find(api.graphDestroy, "cuGraphDestroy");
  find(api.eventCreate, "cuEventCreate");
  find(api.eventDestroy, "cuEventDestroy_v2");
  find(api.eventRecord, "cuEventRecord");
  find(api.eventSynchronize, "cuEventSynchronize");
  find(api.eventElapsedTime, "cuEventElapsedTime");
  find(api.getErrorName, "cuGetErrorName");
  find(api.getErrorString, "cuGetErrorString");
  return api;
}

const Api& load() {
  // A failed attempt throws and is made again next time: the library may have been installed meanwhile.
  static const Api api = loadFrom("libcuda.so.1");
  return api;
}

} // namespace scenebus::cuda::driver
