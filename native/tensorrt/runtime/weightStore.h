#pragma once
#include "common/cancelFlag.h"
#include "tensorrt/runtime/deviceMemory.h"
#include "tensorrt/runtime/modelSpec.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace scenebus::tensorrt {

/**
 * Weights that plans take as inputs, in memory that all plans share: pieces of at most `kChunkBytes`, since a board
 * whose memory is in use does not give gigabytes in one (L4T 36.4.7 refuses them outright). They come from ranges of
 * the checkpoint's files: mapped, copied into two pinned buffers in turn, and from there to the device, so that reading
 * overlaps copying and no file is ever whole in memory.
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
              const Progress& progress, std::uint64_t chunkBytes = kChunkBytes);

  /** A weight that is larger has a piece of its own. */
  static constexpr std::uint64_t kChunkBytes = std::uint64_t{512} << 20;

  bool has(const std::string& name) const { return mPlaces.count(name) > 0; }
  cuda::DevicePointer addressOf(const std::string& name) const {
    const Place& place = mPlaces.at(name);
    return mChunks[place.chunk].get() + place.offset;
  }

private:
  struct Place {
    std::size_t chunk;
    std::uint64_t offset;
  };
  std::map<std::string, Place> mPlaces;
  std::vector<cuda::DeviceBuffer> mChunks;
};

} // namespace scenebus::tensorrt
