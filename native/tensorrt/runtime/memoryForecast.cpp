#include "tensorrt/runtime/memoryForecast.h"

#include "common/codedError.h"
#include "tensorrt/plan/systemFacts.h"

#include <algorithm>
#include <cstdio>

namespace scenebus::tensorrt {

std::uint64_t availableDeviceBytes(cuda::Device& device, const std::string& systemRoot) {
  const std::uint64_t free = device.freeBytes();
  return device.info().integrated ? std::max(free, availableMemoryBytes(systemRoot)) : free;
}

std::string gigabytes(std::uint64_t bytes) {
  char text[32];
  const double value = static_cast<double>(bytes);
  if (bytes >= 100'000'000)
    std::snprintf(text, sizeof(text), "%.1f GB", value / 1e9);
  else
    std::snprintf(text, sizeof(text), "%.1f MB", value / 1e6);
  return text;
}

void requireDeviceMemory(const ModelSpec& spec, const MemoryUse& needed, std::uint64_t availableBytes,
                         const cuda::DeviceInfo& device) {
  const std::uint64_t total = needed.total() + spec.reserveBytes;
  if (total <= availableBytes)
    return;
  std::string stages;
  const auto add = [&](const char* name, std::uint64_t bytes) {
    if (bytes > 0)
      stages += (stages.empty() ? "" : ", ") + std::string(name) + " " + gigabytes(bytes);
  };
  add("weights", needed.weights);
  add("plans", needed.plans);
  add("K/V of sequences", needed.keyValues);
  add("images", needed.images);
  add("scratch", needed.scratch);
  add("inputs and outputs", needed.bindings);
  add("reserve", spec.reserveBytes);
  throw CodedError("ERR_ENGINE_OUT_OF_MEMORY",
                   spec.name + " needs " + gigabytes(total) + " of device memory (" + stages + ") but " +
                       gigabytes(availableBytes) + " of " + gigabytes(device.totalBytes) + " are free on " +
                       device.name + "; choose a shorter contextLength, end other programs, or use a larger module");
}

} // namespace scenebus::tensorrt
