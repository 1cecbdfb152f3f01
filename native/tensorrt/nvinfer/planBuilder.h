#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/plan/libraryLoader.h"
#include "tensorrt/nvinfer/messages.h"

#include <memory>

namespace scenebus::tensorrt {

/** ONNX file to plan. See `InferenceLibrary::build`. */
std::unique_ptr<PlanBytes> buildPlan(const LibrarySymbols& symbols, Messages& messages, cuda::Device& device,
                                     const BuildOptions& options, TimingCache& timing, BuildObserver& observer);

} // namespace scenebus::tensorrt
