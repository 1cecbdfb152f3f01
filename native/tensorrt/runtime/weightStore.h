#pragma once
#include "common/cancelFlag.h"
#include "tensorrt/runtime/deviceMemory.h"
#include "tensorrt/runtime/modelSpec.h"

#include <functional>

namespace scenebus::tensorrt {

/**
 * Weights that plans take as inputs, in one allocation that all plans share. They come from ranges of the checkpoint's
 * files: mapped, copied into two pinned buffers in turn, and from there to the device, so that reading overlaps
 * copying and no file is ever whole in memory.
 */
class WeightStore {
 public:
  using Progress = std::function<void(std::uint64_t doneBytes, std::uint64_t totalBytes)>;

  /** Bytes of device memory that the weights take. */
  static std::uint64_t sizeBytes(const std::vector<WeightLocation>& weights);

  /**
   * @throws CodedError ERR_MODEL_INVALID for a file that is missing or too short; CudaError; Aborted
   */
  WeightStore(cuda::Device& device, const std::vector<WeightLocation>& weights, CancelFlag abort,
              const Progress& progress);

  bool has(const std::string& name) const { return mLayout.has(name); }
  cuda::DevicePointer addressOf(const std::string& name) const { return mMemory.get() + mLayout.offsetOf(name); }

 private:
  Layout mLayout;
  cuda::DeviceBuffer mMemory;
};

} // namespace scenebus::tensorrt
