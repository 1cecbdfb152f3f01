#include "tensorrt/runtime/runtime.h"

#include "common/codedError.h"
#include "tensorrt/nvinfer/openLibrary.h"
#include "tensorrt/plan/systemFacts.h"

#include <cstdlib>
#include <memory>
#include <mutex>

namespace scenebus::tensorrt {
namespace {

std::mutex& openingMutex() {
  static std::mutex mutex;
  return mutex;
}

} // namespace

std::string compiledFor() {
  const Version version = headerVersion();
  return version.number == 0 ? "" : version.text();
}

cuda::Device& processDevice() {
  const std::lock_guard<std::mutex> guard(openingMutex());
  // Never destroyed: plans, plugins and the library itself use it until the process is gone.
  static cuda::Device* device = nullptr;
  if (device == nullptr) {
    // Kernels are loaded when first used, which saves hundreds of megabytes. An owner's own choice stays.
    setenv("CUDA_MODULE_LOADING", "LAZY", 0);
    device = cuda::openDevice().release();
  }
  return *device;
}

LoadedLibraries installedLibraries() {
  if (headerVersion().number == 0)
    throw CodedError("ERR_NATIVE_UNAVAILABLE",
                     "This addon was built without TensorRT's headers. On a Jetson: sudo apt install "
                     "libnvinfer-headers-dev libnvonnxparsers-dev, then npm run build:native");
  const std::lock_guard<std::mutex> guard(openingMutex());
  static const LoadedLibraries libraries = openLibraries(headerVersion());
  return libraries;
}

InferenceLibrary& inferenceLibrary() {
  const LoadedLibraries libraries = installedLibraries();
  cuda::Device& device = processDevice();
  const std::lock_guard<std::mutex> guard(openingMutex());
  static InferenceLibrary* library = nullptr;
  if (library == nullptr)
    library = openNvinferLibrary(libraries, device).release();
  return *library;
}

PlanPlatform currentPlatform(InferenceLibrary& library, cuda::Device& device) {
  const auto& info = device.info();
  return {library.version().text(), info.driverVersion, info.smMajor,   info.smMinor,
          info.smCount,             l4tRelease(),       powerMode()};
}

} // namespace scenebus::tensorrt
