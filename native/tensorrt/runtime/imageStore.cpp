#include "tensorrt/runtime/imageStore.h"

#include "common/codedError.h"

#include <algorithm>

namespace scenebus::tensorrt {
namespace {

/** Conversations that take turns over different sets of images. */
constexpr std::size_t kMostJoined = 2;
constexpr std::size_t kHeadDimension = 1, kPositionDimension = 2, kRank = 4;

std::uint64_t bytesOf(const Binding& binding, std::int64_t positions) {
  Shape shape = binding.shape;
  shape[kPositionDimension] = positions;
  return elementCount(shape) * elementBytes(binding.type);
}

std::vector<Binding> checked(std::vector<Binding> cross) {
  for (const auto& binding : cross)
    if (binding.shape.size() != kRank || binding.shape[0] != 1 || binding.shape[kHeadDimension] < 1 ||
        binding.shape[3] < 1)
      throw CodedError("ERR_MODEL_INVALID", "expected " + binding.name + " as [1, kvHeads, positions, headDim] but it is " +
                                                shapeText(binding.shape));
  return cross;
}

} // namespace

std::uint64_t ImageStore::sizeBytes(const std::vector<Binding>& cross, std::int64_t positions) {
  Layout layout;
  for (const auto& binding : checked(cross))
    layout.add(binding.name, bytesOf(binding, positions));
  return layout.sizeBytes();
}

ImageStore::ImageStore(cuda::Device& device, std::vector<Binding> cross, std::int64_t positions, int slots)
    : mDevice(device), mCross(checked(std::move(cross))), mPool(device, sizeBytes(mCross, positions), slots) {}

Layout ImageStore::layoutFor(std::int64_t positions) const {
  Layout layout;
  for (const auto& binding : mCross)
    layout.add(binding.name, bytesOf(binding, positions));
  return layout;
}

cuda::DeviceBuffer ImageStore::take(std::uint64_t bytes) {
  for (;;) {
    try {
      return mPool.take(bytes);
    } catch (const cuda::CudaError& error) {
      if (error.code() != "ERR_ENGINE_OUT_OF_MEMORY" || mJoined.empty())
        throw;
      mJoined.pop_back();
    }
  }
}

std::unique_ptr<ImageState> ImageStore::create(std::int64_t positions) {
  auto image = std::make_unique<ImageState>();
  image->id = mNextId++;
  image->positions = positions;
  image->layout = layoutFor(positions);
  image->sizeBytes = image->layout.sizeBytes();
  image->memory = take(image->sizeBytes);
  return image;
}

void ImageStore::release(std::unique_ptr<ImageState> image) {
  mJoined.remove_if([&](const Joined& entry) {
    return std::find(entry.ids.begin(), entry.ids.end(), image->id) != entry.ids.end();
  });
  mPool.give(std::move(image->memory));
}

ImageStore::Part ImageStore::headOf(const ImageState& image, const std::string& name, std::int64_t head) const {
  const auto binding = std::find_if(mCross.begin(), mCross.end(), [&](const Binding& b) { return b.name == name; });
  if (binding == mCross.end())
    throw CodedError("ERR_ARGUMENT_INVALID", "images have no " + name);
  const std::int64_t heads = binding->shape[kHeadDimension];
  if (head < 0 || head >= heads)
    throw CodedError("ERR_ARGUMENT_INVALID", "expected a head of 0 to " + std::to_string(heads - 1) + " of " + name +
                                                 " but received " + std::to_string(head));
  const std::uint64_t sizeBytes = bytesOf(*binding, image.positions) / static_cast<std::uint64_t>(heads);
  return {image.memory.get() + image.layout.offsetOf(name) + static_cast<std::uint64_t>(head) * sizeBytes, sizeBytes};
}

const ImageState& ImageStore::joined(const std::vector<const ImageState*>& images, cuda::Stream stream) {
  if (images.size() == 1)
    return *images.front();
  std::vector<std::uint64_t> ids;
  std::int64_t positions = 0;
  for (const auto* image : images) {
    ids.push_back(image->id);
    positions += image->positions;
  }
  const auto found = std::find_if(mJoined.begin(), mJoined.end(), [&](const Joined& entry) { return entry.ids == ids; });
  if (found != mJoined.end()) {
    mJoined.splice(mJoined.begin(), mJoined, found);
    return *found->state;
  }
  while (mJoined.size() >= kMostJoined)
    mJoined.pop_back();
  auto state = create(positions);
  for (const auto& binding : mCross) {
    const auto rowBytes = static_cast<std::uint64_t>(binding.shape[3]) * elementBytes(binding.type);
    const cuda::DevicePointer to = state->memory.get() + state->layout.offsetOf(binding.name);
    std::uint64_t before = 0; // positions of the images before this one
    for (const auto* image : images) {
      const cuda::DevicePointer from = image->memory.get() + image->layout.offsetOf(binding.name);
      const auto own = static_cast<std::uint64_t>(image->positions), all = static_cast<std::uint64_t>(positions);
      for (std::uint64_t head = 0; head < static_cast<std::uint64_t>(binding.shape[kHeadDimension]); ++head)
        mDevice.copyOnDevice(to + (head * all + before) * rowBytes, from + head * own * rowBytes, own * rowBytes,
                             stream);
      before += own;
    }
  }
  mJoined.push_front({std::move(ids), std::move(state)});
  return *mJoined.front().state;
}

} // namespace scenebus::tensorrt
