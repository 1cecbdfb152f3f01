#pragma once
#include <cstddef>
#include <string>

/**
 * The few declarations of the CUDA driver API that we call, written out so that no CUDA header is needed to build. They
 * are a stable binary interface; the names with `_v2` are what cuda.h maps the plain names to.
 */
namespace scenebus::cuda::driver {

using Result = int;
using DeviceOrdinal = int;
using Context = struct ContextOpaque*;
using Module = struct ModuleOpaque*;
using Function = struct FunctionOpaque*;
using Graph = struct GraphOpaque*;
using GraphExecHandle = struct GraphExecOpaque*;
using Pointer = unsigned long long;

constexpr Result kSuccess = 0;
constexpr Result kErrorOutOfMemory = 2;
constexpr Result kErrorNoDevice = 100;
constexpr Result kErrorNoBinaryForGpu = 209;
/** PTX of a newer compiler than the driver knows. */
constexpr Result kErrorUnsupportedPtx = 222;
constexpr Result kErrorNotFound = 500;
constexpr Result kErrorNotSupported = 801;

/**
 * The failure has poisoned the context for the rest of the process: "to continue using CUDA, the process must be
 * terminated and relaunched" (CUDA driver API, CUresult).
 */
constexpr bool isSticky(Result result) {
  switch (result) {
    case 214: // ECC_UNCORRECTABLE
    case 700: // ILLEGAL_ADDRESS
    case 702: // LAUNCH_TIMEOUT
    case 710: // ASSERT
    case 714: // HARDWARE_STACK_ERROR
    case 715: // ILLEGAL_INSTRUCTION
    case 716: // MISALIGNED_ADDRESS
    case 717: // INVALID_ADDRESS_SPACE
    case 718: // INVALID_PC
    case 719: // LAUNCH_FAILED
      return true;
    default:
      return false;
  }
}

/** Of sdk/core/errors.ts. */
constexpr const char* codeOf(Result failure) {
  if (failure == kErrorOutOfMemory)
    return "ERR_ENGINE_OUT_OF_MEMORY";
  return isSticky(failure) ? "ERR_ENGINE_DIED" : "ERR_ENGINE_FAILED";
}

// CUdevice_attribute
constexpr int kAttributeMultiprocessorCount = 16;
constexpr int kAttributeIntegrated = 18;
constexpr int kAttributeComputeMajor = 75;
constexpr int kAttributeComputeMinor = 76;
constexpr int kAttributeSharedPerBlockOptIn = 97;

// CUpointer_attribute, CUmemorytype
constexpr int kPointerMemoryType = 2;
constexpr unsigned kMemoryTypeHost = 1;

// CUfunction_attribute
constexpr int kFunctionMaxDynamicShared = 8;

constexpr unsigned kStreamNonBlocking = 1;
/** Other threads may make any call while we capture; only ours is held to the rules. */
constexpr int kCaptureThreadLocal = 1;

struct Api {
  Result (*init)(unsigned);
  Result (*driverGetVersion)(int*);
  Result (*deviceGetCount)(int*);
  Result (*deviceGet)(DeviceOrdinal*, int);
  Result (*deviceGetName)(char*, int, DeviceOrdinal);
  Result (*deviceGetAttribute)(int*, int, DeviceOrdinal);
  Result (*deviceTotalMem)(std::size_t*, DeviceOrdinal);
  Result (*primaryContextRetain)(Context*, DeviceOrdinal);
  Result (*primaryContextRelease)(DeviceOrdinal);
  Result (*contextSetCurrent)(Context);
  Result (*memGetInfo)(std::size_t*, std::size_t*);
  Result (*memAlloc)(Pointer*, std::size_t);
  Result (*memFree)(Pointer);
  Result (*pointerGetAttribute)(void*, int, Pointer);
  Result (*memHostAlloc)(void**, std::size_t, unsigned);
  Result (*memFreeHost)(void*);
  Result (*streamCreate)(void**, unsigned);
  Result (*streamDestroy)(void*);
  Result (*streamSynchronize)(void*);
  Result (*copyToDevice)(Pointer, const void*, std::size_t, void*);
  Result (*copyToHost)(void*, Pointer, std::size_t, void*);
  Result (*copyOnDevice)(Pointer, Pointer, std::size_t, void*);
  Result (*memset8)(Pointer, unsigned char, std::size_t, void*);
  Result (*moduleLoadData)(Module*, const void*);
  Result (*moduleUnload)(Module);
  Result (*moduleGetFunction)(Function*, Module, const char*);
  Result (*functionSetAttribute)(Function, int, int);
  Result (*launchKernel)(Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                         void**);
  Result (*streamBeginCapture)(void*, int);
  Result (*streamEndCapture)(void*, Graph*);
  Result (*graphInstantiate)(GraphExecHandle*, Graph, unsigned long long);
  Result (*graphLaunch)(GraphExecHandle, void*);
  Result (*graphExecDestroy)(GraphExecHandle);
  Result (*graphDestroy)(Graph);
  Result (*eventCreate)(void**, unsigned);
  Result (*eventDestroy)(void*);
  Result (*eventRecord)(void*, void*);
  Result (*eventSynchronize)(void*);
  Result (*eventElapsedTime)(float*, void*, void*);
  Result (*getErrorName)(Result, const char**);
  Result (*getErrorString)(Result, const char**);
};

/** Opens the library once for the process. CudaError ERR_NATIVE_UNAVAILABLE names the file or the symbol that is missing. */
const Api& load();

/** The same with a library of another name: for tests. */
Api loadFrom(const std::string& library);

} // namespace scenebus::cuda::driver
