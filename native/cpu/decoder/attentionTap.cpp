#include "cpu/decoder/attentionTap.h"

#include "cpu/kernels/half.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace scenebus::cpu {
namespace {

inline float numberOf(float x) {
  return x;
}
inline float numberOf(std::uint16_t x) {
  return floatFromF16(x);
}
inline float numberOf(std::int8_t x) {
  return static_cast<float>(x);
}

template <typename Number> void scoreBlocks(const float* query, const KeyValueRun& run, int headDim, float* scores) {
  const auto* keys = static_cast<const Number*>(run.keys);
  for (int block = 0; block < run.count; block += kKeyBlock, keys += static_cast<std::ptrdiff_t>(headDim) * kKeyBlock) {
    float sums[kKeyBlock] = {};
    for (int d = 0; d < headDim; ++d)
      for (int i = 0; i < kKeyBlock; ++i)
        sums[i] += query[d] * numberOf(keys[static_cast<std::ptrdiff_t>(d) * kKeyBlock + i]);
    std::copy(sums, sums + std::min(kKeyBlock, run.count - block), scores + block);
  }
}

} // namespace

void scoreKeys(const float* query, const KeyValueRun& run, CacheType type, int headDim, float scale, float* scores) {
  switch (type) {
  case CacheType::kF32:
    scoreBlocks<float>(query, run, headDim, scores);
    break;
  case CacheType::kF16:
    scoreBlocks<std::uint16_t>(query, run, headDim, scores);
    break;
  case CacheType::kI8:
    scoreBlocks<std::int8_t>(query, run, headDim, scores);
    break;
  }
  for (int i = 0; i < run.count; ++i)
    scores[i] *= type == CacheType::kI8 ? scale * run.keyScales[i] : scale;
}

void softmax(float* x, int count) {
  if (count <= 0)
    return;
  const float max = *std::max_element(x, x + count);
  double sum = 0;
  for (int i = 0; i < count; ++i) {
    x[i] = std::exp(x[i] - max);
    sum += x[i];
  }
  const float inverse = static_cast<float>(1.0 / sum);
  for (int i = 0; i < count; ++i)
    x[i] *= inverse;
}

} // namespace scenebus::cpu
