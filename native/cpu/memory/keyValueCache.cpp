#include "cpu/memory/keyValueCache.h"

#include "cpu/kernels/half.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace scenebus::cpu {
namespace {

/** Rounds `x[count]` to bytes `stride` apart, and returns their scale: NaN if one of them is not finite. */
float storeBytes(const float* x, int count, std::int8_t* to, std::ptrdiff_t stride) {
  // Among bits, where infinity and NaN are above all numbers; fmax would drop a NaN.
  std::uint32_t bits = 0;
  for (int i = 0; i < count; ++i)
    bits = std::max(bits, bitsOfFloat(x[i]) & 0x7fffffffu);
  const float max = floatFromBits(bits);
  if (!std::isfinite(max)) {
    for (int i = 0; i < count; ++i)
      to[i * stride] = 0;
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = max > kSmallestBlockMax ? 127.0f / max : 0.0f;
  // Adding 1.5 · 2²³ leaves no fraction bits: to nearest, ties to even, without a call for each number.
  constexpr float kRounding = 12582912.0f;
  for (int i = 0; i < count; ++i)
    to[i * stride] = static_cast<std::int8_t>(static_cast<int>(x[i] * inverse + kRounding - kRounding));
  return inverse > 0.0f ? max / 127.0f : 0.0f;
}

} // namespace

KeyValueCache::KeyValueCache(int layers, int heads, int headDim, int capacity, CacheType type)
    : mHeads(heads), mHeadDim(headDim), mCapacity(capacity),
      mPaddedCapacity((capacity + kKeyBlock - 1) / kKeyBlock * kKeyBlock), mType(type) {
  mSizeBytes = headOffset(layers, 0);
  mMemory = MappedMemory::anonymous(mSizeBytes, false);
}

std::size_t KeyValueCache::halfSizeBytes() const {
  return static_cast<std::size_t>(mPaddedCapacity) * mHeadDim * cacheElementBytes(mType);
}

std::size_t KeyValueCache::headOffset(int layer, int head) const {
  // Keys and values of a head one after the other, then their scales.
  const std::size_t scales = mType == CacheType::kI8 ? static_cast<std::size_t>(mPaddedCapacity) * sizeof(float) : 0;
  return (static_cast<std::size_t>(layer) * mHeads + head) * 2 * (halfSizeBytes() + scales);
}

template <typename Byte> auto KeyValueCache::scalesOf(Byte* base) const {
  using Float = std::conditional_t<std::is_const_v<Byte>, const float, float>;
  return reinterpret_cast<Float*>(base + 2 * halfSizeBytes());
}

void KeyValueCache::store(int layer, int head, int position, const float* key, const float* value) {
  std::uint8_t* base = mMemory.data() + headOffset(layer, head);
  const std::size_t keyAt =
      static_cast<std::size_t>(position / kKeyBlock) * mHeadDim * kKeyBlock + position % kKeyBlock;
  const std::size_t valueAt = static_cast<std::size_t>(mPaddedCapacity + position) * mHeadDim;
  switch (mType) {
  case CacheType::kF32: {
    auto* data = reinterpret_cast<float*>(base);
    for (int d = 0; d < mHeadDim; ++d) {
      data[keyAt + static_cast<std::size_t>(d) * kKeyBlock] = key[d];
      data[valueAt + d] = value[d];
    }
    return;
  }
  case CacheType::kF16: {
    auto* data = reinterpret_cast<std::uint16_t*>(base);
    for (int d = 0; d < mHeadDim; ++d) {
      data[keyAt + static_cast<std::size_t>(d) * kKeyBlock] = f16FromFloat(key[d]);
      data[valueAt + d] = f16FromFloat(value[d]);
    }
    return;
  }
  case CacheType::kI8: {
    auto* data = reinterpret_cast<std::int8_t*>(base);
    float* scales = scalesOf(base);
    scales[position] = storeBytes(key, mHeadDim, data + keyAt, kKeyBlock);
    scales[mPaddedCapacity + position] = storeBytes(value, mHeadDim, data + valueAt, 1);
    return;
  }
  }
}

KeyValueRun KeyValueCache::run(int layer, int head, int count, int first) const {
  const std::uint8_t* base = mMemory.data() + headOffset(layer, head);
  // Blocks of keys and rows of values are of one size: so many bytes a position.
  const std::size_t offset = static_cast<std::size_t>(first) * mHeadDim * cacheElementBytes(mType);
  KeyValueRun run{base + offset, base + halfSizeBytes() + offset, count, nullptr, nullptr};
  if (mType == CacheType::kI8) {
    run.keyScales = scalesOf(base) + first;
    run.valueScales = run.keyScales + mPaddedCapacity;
  }
  return run;
}

} // namespace scenebus::cpu
