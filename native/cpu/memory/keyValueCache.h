#pragma once
#include "common/mappedMemory.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/matrix.h"

#include <cstddef>
#include <cstdint>

namespace scenebus::cpu {

/**
 * Keys and values of several layers and heads, laid out as `attend` reads them; of kI8 the largest magnitude of a key
 * or a value is 127 times its scale. Pages are taken from the system when they are first written, so a long context
 * costs only what is used of it.
 */
class KeyValueCache {
public:
  /** @throws std::bad_alloc when even the addresses cannot be had. */
  KeyValueCache(int layers, int heads, int headDim, int capacity, CacheType type);

  /** Stores one position of one head; `key` and `value` are `[headDim]`. */
  void store(int layer, int head, int position, const float* key, const float* value);

  /** `count` positions of one head, from `first` on, which is a multiple of `kKeyBlock`. */
  KeyValueRun run(int layer, int head, int count, int first = 0) const;

  int capacity() const { return mCapacity; }
  CacheType type() const { return mType; }
  /** Addresses reserved, not memory used. */
  std::size_t sizeBytes() const { return mSizeBytes; }
  /** Memory in use when the first `positions` have been stored, but for whole pages. */
  std::size_t usedBytes(int positions) const { return mSizeBytes / mPaddedCapacity * positions; }

private:
  std::size_t headOffset(int layer, int head) const;
  /** Bytes of the keys of one head, and of its values. */
  std::size_t halfSizeBytes() const;
  /** Keys' scales of a head whose data begins at `base`, followed by those of the values; kI8 only. */
  template <typename Byte> auto scalesOf(Byte* base) const;

  int mHeads, mHeadDim, mCapacity, mPaddedCapacity;
  CacheType mType;
  std::size_t mSizeBytes = 0;
  MappedMemory mMemory;
};

} // namespace scenebus::cpu
