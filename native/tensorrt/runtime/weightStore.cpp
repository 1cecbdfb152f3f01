#include "tensorrt/runtime/weightStore.h"

#include "common/codedError.h"
#include "common/mappedFile.h"
#include "common/pageCache.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace scenebus::tensorrt {
namespace {

/** Large enough for the full bandwidth of a copy, small beside the model. */
constexpr std::uint64_t kStagingBytes = std::uint64_t{8} << 20;

/** Waits for whatever may still read a staging buffer, also when loading ends by an exception. */
struct Staging {
  explicit Staging(cuda::Device& device) : device(device), stream(device), buffer(device, kStagingBytes) {}
  ~Staging() {
    try {
      device.synchronize(stream.get());
    } catch (const cuda::CudaError&) {
      // The error that ended loading, or the next call, tells it.
    }
  }
  cuda::Device& device;
  StreamOwner stream;
  PinnedBuffer buffer;
};

/** What lies in one piece of memory, weight behind weight. */
std::vector<Layout> chunksOf(const std::vector<WeightLocation>& weights, std::uint64_t chunkBytes) {
  std::vector<Layout> chunks;
  for (const auto& weight : weights) {
    if (chunks.empty() || chunks.back().sizeBytes() + alignDevice(weight.sizeBytes) > chunkBytes)
      chunks.emplace_back();
    chunks.back().add(weight.name, weight.sizeBytes);
  }
  return chunks;
}

} // namespace

std::uint64_t WeightStore::sizeBytes(const std::vector<WeightLocation>& weights) {
  std::uint64_t total = 0;
  for (const auto& weight : weights)
    total += alignDevice(weight.sizeBytes);
  return total;
}

WeightStore::WeightStore(cuda::Device& device, const std::vector<WeightLocation>& weights, CancelFlag abort,
                         const Progress& progress, std::uint64_t chunkBytes) {
  const std::vector<Layout> chunks = chunksOf(weights, chunkBytes);
  for (const auto& chunk : chunks)
    mChunks.emplace_back(device, chunk.sizeBytes());
  for (const auto& weight : weights)
    for (std::size_t i = 0; i < chunks.size(); ++i)
      if (chunks[i].has(weight.name))
        mPlaces[weight.name] = {i, chunks[i].offsetOf(weight.name)};
  if (weights.empty())
    return;
  std::uint64_t total = 0, done = 0;
  for (const auto& weight : weights)
    total += weight.sizeBytes;
  // In the order in which they lie in the files, so that a disk reads forwards.
  std::vector<const WeightLocation*> order;
  for (const auto& weight : weights)
    order.push_back(&weight);
  std::sort(order.begin(), order.end(), [](const WeightLocation* a, const WeightLocation* b) {
    return a->file != b->file ? a->file < b->file : a->offsetBytes < b->offsetBytes;
  });

  Staging first(device), second(device);
  const std::array<Staging*, 2> stagings{&first, &second};
  std::size_t turn = 0;
  // On a board the page cache and the device share one memory, and what the cache holds does not count as free.
  const auto dropRead = [&](const WeightLocation& weight) {
    if (device.info().integrated)
      dropFromPageCache(weight.file, weight.offsetBytes, weight.sizeBytes);
  };
  for (const auto* weight : order) {
    {
      const MappedFile file(
          "the weight " + weight->name, weight->file,
          {static_cast<std::int64_t>(weight->offsetBytes), static_cast<std::int64_t>(weight->sizeBytes)},
          MappedFile::Pages::kShared);
      for (std::uint64_t at = 0; at < weight->sizeBytes;) {
        abort.check();
        Staging& staging = *stagings[turn++ % stagings.size()];
        device.synchronize(staging.stream.get());
        const std::uint64_t bytes = std::min(kStagingBytes, weight->sizeBytes - at);
        std::memcpy(staging.buffer.get(), file.data() + at, bytes);
        device.copyToDevice(addressOf(weight->name) + at, staging.buffer.get(), bytes, staging.stream.get());
        at += bytes;
        done += bytes;
        if (progress)
          progress(done, total);
      }
    }
    dropRead(*weight);
  }
  for (auto* staging : stagings)
    device.synchronize(staging->stream.get());
}

} // namespace scenebus::tensorrt
