#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/plan/libraryLoader.h"

#include <memory>

namespace scenebus::tensorrt {

/** Of the headers that this was compiled with; 0 without any. */
Version headerVersion();

/** The real library; registers our plugins. Library and device outlive what is returned. */
std::unique_ptr<InferenceLibrary> openNvinferLibrary(LoadedLibraries libraries, cuda::Device& device);

} // namespace scenebus::tensorrt
