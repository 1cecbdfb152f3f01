#pragma once
#include "tensorrt/runtime/deviceMemory.h"
#include "tensorrt/runtime/modelSpec.h"

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace scenebus::tensorrt {

/** Cross-attention K/V of one image: every cross binding `[1, kvHeads, positions, headDim]`, one after the other. */
struct ImageState {
  std::uint64_t id = 0;
  std::int64_t positions = 0;
  std::uint64_t sizeBytes = 0;
  Layout layout;
  cuda::DeviceBuffer memory;
};

/** Memory of images, and the K/V of several images as one, which rows that see them all attend to. */
class ImageStore {
 public:
  /**
   * @param cross the cross bindings; dimension 2 is the positions
   * @param positions of an image that fits a slot
   * @param slots taken at once
   * @throws CodedError ERR_MODEL_INVALID for a binding of another form
   */
  ImageStore(cuda::Device& device, std::vector<Binding> cross, std::int64_t positions, int slots);

  static std::uint64_t sizeBytes(const std::vector<Binding>& cross, std::int64_t positions);

  /** Memory for an image; the caller fills it. */
  std::unique_ptr<ImageState> create(std::int64_t positions);
  /** Takes the memory back, and forgets what was joined from it. */
  void release(std::unique_ptr<ImageState> image);

  struct Part {
    cuda::DevicePointer address;
    std::uint64_t sizeBytes;
  };
  /** `[positions, headDim]` of one head. @throws CodedError ERR_ARGUMENT_INVALID for a name or a head that is not */
  Part headOf(const ImageState& image, const std::string& name, std::int64_t head) const;

  /** Addresses of the cross bindings for these images in order; valid until the next call. Copies go into the stream. */
  const ImageState& joined(const std::vector<const ImageState*>& images, cuda::Stream stream);

  const std::vector<Binding>& cross() const { return mCross; }

 private:
  struct Joined {
    std::vector<std::uint64_t> ids;
    std::unique_ptr<ImageState> state;
  };

  Layout layoutFor(std::int64_t positions) const;
  /** Makes room by forgetting joined K/V when the device has none. */
  cuda::DeviceBuffer take(std::uint64_t bytes);

  cuda::Device& mDevice;
  std::vector<Binding> mCross;
  SlotPool mPool;
  std::uint64_t mNextId = 1;
  std::list<Joined> mJoined; // most recently used first
};

} // namespace scenebus::tensorrt
