#pragma once
#include "cpu/kernels.h"
#include "cpu/matrix.h"

#include <cstddef>
#include <cstdint>

namespace scenebus::cpu {

/**
 * Keys and values of several layers and heads, laid out as `attend` reads them. Pages are taken from the system when
 * they are first written, so a long context costs only what is used of it.
 */
class KeyValueCache {
 public:
  /** @throws std::bad_alloc when even the addresses cannot be had. */
  KeyValueCache(int layers, int heads, int headDim, int capacity, ScalarType type);
  ~KeyValueCache();
  KeyValueCache(const KeyValueCache&) = delete;
  KeyValueCache& operator=(const KeyValueCache&) = delete;

  /** Stores one position of one head; `key` and `value` are `[headDim]`. */
  void store(int layer, int head, int position, const float* key, const float* value);

  /** The first `count` positions of one head. */
  KeyValueRun run(int layer, int head, int count) const;

  int capacity() const { return mCapacity; }
  ScalarType type() const { return mType; }
  /** Addresses reserved, not memory used. */
  std::size_t sizeBytes() const { return mSizeBytes; }

 private:
  std::size_t headOffset(int layer, int head) const;

  int mHeads, mHeadDim, mCapacity, mPaddedCapacity;
  ScalarType mType;
  std::size_t mSizeBytes = 0;
  std::uint8_t* mData = nullptr;
};

} // namespace scenebus::cpu
