#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/runtime/modelSpec.h"

#include <string>

namespace scenebus::tensorrt {

/** What the device can give now. On a Jetson that includes what the system frees for it, such as cached files. */
std::uint64_t availableDeviceBytes(cuda::Device& device, const std::string& systemRoot = "");

/** `9.3 GB` */
std::string gigabytes(std::uint64_t bytes);

/**
 * @param needed what has not been taken yet
 * @throws CodedError ERR_ENGINE_OUT_OF_MEMORY with the figures when it does not fit beside the reserve
 */
void requireDeviceMemory(const ModelSpec& spec, const MemoryUse& needed, std::uint64_t availableBytes,
                         const cuda::DeviceInfo& device);

} // namespace scenebus::tensorrt
