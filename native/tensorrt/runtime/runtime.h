#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/plan/inferenceLibrary.h"
#include "tensorrt/plan/libraryLoader.h"
#include "tensorrt/plan/planCache.h"

#include <string>

/** What the process has of TensorRT and CUDA; opened at the first use and kept until it ends. */
namespace scenebus::tensorrt {

/** Version of the headers that this was compiled with; empty without any. */
std::string compiledFor();

/** @throws CodedError ERR_NATIVE_UNAVAILABLE, ERR_ENGINE_INCOMPATIBLE: what is missing and what to install */
LoadedLibraries installedLibraries();

/** Needs the device too. @throws as `installedLibraries` and `processDevice` */
InferenceLibrary& inferenceLibrary();

/** @throws CodedError ERR_NATIVE_UNAVAILABLE */
cuda::Device& processDevice();

PlanPlatform currentPlatform(InferenceLibrary& library, cuda::Device& device);

} // namespace scenebus::tensorrt
