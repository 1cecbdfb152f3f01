#include "cpu/keyValueCache.h"

#include "cpu/half.h"

#include <sys/mman.h>

#include <new>

namespace scenebus::cpu {

KeyValueCache::KeyValueCache(int layers, int heads, int headDim, int capacity, ScalarType type)
    : mHeads(heads), mHeadDim(headDim), mCapacity(capacity),
      mPaddedCapacity((capacity + kKeyBlock - 1) / kKeyBlock * kKeyBlock), mType(type) {
  mSizeBytes = headOffset(layers, 0);
  if (mSizeBytes == 0)
    return;
  void* memory =
      mmap(nullptr, mSizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw std::bad_alloc();
  mData = static_cast<std::uint8_t*>(memory);
}

KeyValueCache::~KeyValueCache() {
  if (mData != nullptr)
    munmap(mData, mSizeBytes);
}

std::size_t KeyValueCache::headOffset(int layer, int head) const {
  // Keys and values of a head one after the other.
  const std::size_t perHead = static_cast<std::size_t>(mPaddedCapacity) * mHeadDim * scalarSizeBytes(mType) * 2;
  return (static_cast<std::size_t>(layer) * mHeads + head) * perHead;
}

void KeyValueCache::store(int layer, int head, int position, const float* key, const float* value) {
  std::uint8_t* base = mData + headOffset(layer, head);
  const std::size_t keyAt = static_cast<std::size_t>(position / kKeyBlock) * mHeadDim * kKeyBlock + position % kKeyBlock;
  const std::size_t valueAt = static_cast<std::size_t>(mPaddedCapacity + position) * mHeadDim;
  if (mType == ScalarType::kF32) {
    auto* data = reinterpret_cast<float*>(base);
    for (int d = 0; d < mHeadDim; ++d) {
      data[keyAt + static_cast<std::size_t>(d) * kKeyBlock] = key[d];
      data[valueAt + d] = value[d];
    }
  } else {
    auto* data = reinterpret_cast<std::uint16_t*>(base);
    for (int d = 0; d < mHeadDim; ++d) {
      data[keyAt + static_cast<std::size_t>(d) * kKeyBlock] = f16FromFloat(key[d]);
      data[valueAt + d] = f16FromFloat(value[d]);
    }
  }
}

KeyValueRun KeyValueCache::run(int layer, int head, int count) const {
  const std::uint8_t* base = mData + headOffset(layer, head);
  return {base, base + static_cast<std::size_t>(mPaddedCapacity) * mHeadDim * scalarSizeBytes(mType), count};
}

} // namespace scenebus::cpu
