#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/plan/libraryLoader.h"
#include "tensorrt/nvinfer/messages.h"

namespace scenebus::tensorrt {

/**
 * Registers our operators under the namespaces "" and "scenebus", version "1", for the rest of the process: the parser
 * asks for one or the other, depending on its version.
 * @throws CodedError ERR_ENGINE_INCOMPATIBLE when the registry refuses
 */
void registerPlugins(const LibrarySymbols& symbols, cuda::Device& device, Messages& messages);

} // namespace scenebus::tensorrt
