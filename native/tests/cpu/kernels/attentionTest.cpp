#include "cpu/kernels/half.h"
#include "cpu/memory/keyValueCache.h"
#include "tests/cpu/kernels/kernelsUnderTest.h"
#include "tests/support/checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace scenebus::cpu;

namespace {

/** Signed bytes of `x[count]` with the scale that the cache gives them; `x` becomes what they mean. */
float roundToBytes(float* x, int count, std::vector<std::int8_t>& bytes) {
  float max = 0.0f;
  for (int i = 0; i < count; ++i)
    max = std::max(max, std::fabs(x[i]));
  const float scale = max / 127.0f;
  bytes.resize(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    bytes[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(std::nearbyintf(x[i] / scale));
    x[i] = bytes[static_cast<std::size_t>(i)] * scale;
  }
  return scale;
}

/** Attention of one query over `count` positions `[headDim]`, in double precision. */
std::vector<double> exactAttention(const float* query, const float* keys, const float* values, int count, int headDim,
                                   double scale) {
  std::vector<double> weights(static_cast<std::size_t>(count)), result(static_cast<std::size_t>(headDim));
  double max = -1e300, sum = 0;
  for (int p = 0; p < count; ++p) {
    double score = 0;
    for (int d = 0; d < headDim; ++d)
      score += static_cast<double>(query[d]) * keys[static_cast<std::size_t>(p) * headDim + d];
    weights[static_cast<std::size_t>(p)] = score * scale;
    max = std::max(max, score * scale);
  }
  for (auto& weight : weights)
    sum += weight = std::exp(weight - max);
  for (int p = 0; p < count; ++p)
    for (int d = 0; d < headDim; ++d)
      result[static_cast<std::size_t>(d)] +=
          weights[static_cast<std::size_t>(p)] / sum * values[static_cast<std::size_t>(p) * headDim + d];
  return result;
}

} // namespace

TEST_CASE("attention: causal limits, several runs, all cache types, every set") {
  for (const int headDim : {16, 48, 128}) {
    for (const auto type : {CacheType::kF32, CacheType::kF16, CacheType::kI8}) {
      const std::vector<int> counts{1, 300, 17};
      const int total = 318;
      // Positions in order, then laid out as the cache has them; what lies beyond the count is rubbish.
      auto keys = normalValues(static_cast<std::size_t>(total) * headDim);
      auto values = normalValues(static_cast<std::size_t>(total) * headDim);
      std::vector<std::vector<std::uint8_t>> keyBytes, valueBytes;
      std::vector<std::vector<float>> keyScales, valueScales;
      std::vector<KeyValueRun> runs;
      const std::size_t size = cacheElementBytes(type);
      int start = 0;
      for (const int count : counts) {
        const int blocks = (count + 15) / 16;
        keyBytes.emplace_back(static_cast<std::size_t>(blocks) * 16 * headDim * size, 0x7f);
        valueBytes.emplace_back(static_cast<std::size_t>(blocks) * 16 * headDim * size, 0xff);
        keyScales.emplace_back(static_cast<std::size_t>(blocks) * 16, std::nanf(""));
        valueScales.emplace_back(static_cast<std::size_t>(blocks) * 16, std::nanf(""));
        for (int p = 0; p < count; ++p) {
          std::vector<std::int8_t> byteKey, byteValue;
          if (type == CacheType::kI8) {
            const std::size_t at = static_cast<std::size_t>(start + p) * headDim;
            keyScales.back()[static_cast<std::size_t>(p)] = roundToBytes(keys.data() + at, headDim, byteKey);
            valueScales.back()[static_cast<std::size_t>(p)] = roundToBytes(values.data() + at, headDim, byteValue);
          }
          for (int d = 0; d < headDim; ++d) {
            float& k = keys[static_cast<std::size_t>(start + p) * headDim + d];
            float& v = values[static_cast<std::size_t>(start + p) * headDim + d];
            const std::size_t keyAt = (static_cast<std::size_t>(p / 16) * headDim + d) * 16 + p % 16;
            const std::size_t valueAt = static_cast<std::size_t>(p) * headDim + d;
            if (type == CacheType::kI8) {
              keyBytes.back()[keyAt] = static_cast<std::uint8_t>(byteKey[static_cast<std::size_t>(d)]);
              valueBytes.back()[valueAt] = static_cast<std::uint8_t>(byteValue[static_cast<std::size_t>(d)]);
            } else if (type == CacheType::kF16) {
              const std::uint16_t halfKey = f16FromFloat(k), halfValue = f16FromFloat(v);
              std::memcpy(keyBytes.back().data() + keyAt * 2, &halfKey, 2);
              std::memcpy(valueBytes.back().data() + valueAt * 2, &halfValue, 2);
              k = floatFromF16(halfKey);
              v = floatFromF16(halfValue);
            } else {
              std::memcpy(keyBytes.back().data() + keyAt * 4, &k, 4);
              std::memcpy(valueBytes.back().data() + valueAt * 4, &v, 4);
            }
          }
        }
        start += count;
      }
      for (std::size_t r = 0; r < counts.size(); ++r)
        runs.push_back(
            {keyBytes[r].data(), valueBytes[r].data(), counts[r], keyScales[r].data(), valueScales[r].data()});

      const std::vector<int> limits{1, 2, 16, 17, 100, 257, 301, 302, 317, 318, 318};
      const auto q = normalValues(limits.size() * headDim, 3.0f);
      for (const auto* kernels : allKernels()) {
        std::vector<float> out(q.size(), std::nanf("")), scratch(kAttendScratch);
        std::vector<const float*> queries;
        std::vector<float*> outputs;
        for (std::size_t i = 0; i < limits.size(); ++i) {
          queries.push_back(q.data() + i * headDim);
          outputs.push_back(out.data() + i * headDim);
        }
        AttentionTask task;
        task.runs = runs.data();
        task.runCount = 3;
        task.type = type;
        task.headDim = headDim;
        task.scale = 0.3f;
        task.queryCount = static_cast<int>(limits.size());
        task.queries = queries.data();
        task.outputs = outputs.data();
        task.limits = limits.data();
        task.scratch = scratch.data();
        kernels->attend(task);
        for (std::size_t i = 0; i < limits.size(); ++i) {
          const auto exact = exactAttention(queries[i], keys.data(), values.data(), limits[i], headDim, 0.3);
          for (int d = 0; d < headDim; ++d)
            CHECK_MESSAGE(std::fabs(outputs[i][d] - exact[static_cast<std::size_t>(d)]) <= 2e-5,
                          "%s headDim %d limit %d: %g, not %g", nameOf(kernels), headDim, limits[i], outputs[i][d],
                          exact[static_cast<std::size_t>(d)]);
        }
      }
    }
  }
}

/** Attention of one query that sees all positions of one run; `unwritten` stays where the kernel writes nothing. */
static std::vector<float> attendOne(const Kernels& kernels, const KeyValueRun& run, CacheType type,
                                    const std::vector<float>& query, float scale, float unwritten) {
  std::vector<float> out(query.size(), unwritten), scratch(kAttendScratch);
  const float* queries[] = {query.data()};
  float* outputs[] = {out.data()};
  AttentionTask task;
  task.runs = &run;
  task.runCount = 1;
  task.type = type;
  task.headDim = static_cast<int>(query.size());
  task.scale = scale;
  task.queryCount = 1;
  task.queries = queries;
  task.outputs = outputs;
  task.limits = &run.count;
  task.scratch = scratch.data();
  kernels.attend(task);
  return out;
}

TEST_CASE("attention: over an int8 cache within the bound that its rounding explains, odd lengths, every set") {
  const int headDim = 64, heads = 2, capacity = 301;
  KeyValueCache cache(2, heads, headDim, capacity, CacheType::kI8);
  const auto keys = normalValues(static_cast<std::size_t>(capacity) * headDim, 2.0f);
  const auto values = normalValues(static_cast<std::size_t>(capacity) * headDim);
  float maxKey = 0.0f, maxValue = 0.0f;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    maxKey = std::max(maxKey, std::fabs(keys[i]));
    maxValue = std::max(maxValue, std::fabs(values[i]));
  }
  const std::vector<float> other(headDim, 1e3f); // in every other place of the cache
  for (int position = 0; position < capacity; ++position)
    for (int layer = 0; layer < 2; ++layer)
      for (int head = 0; head < heads; ++head) {
        const bool measured = layer == 1 && head == 1;
        const std::size_t at = static_cast<std::size_t>(position) * headDim;
        cache.store(layer, head, position, measured ? keys.data() + at : other.data(),
                    measured ? values.data() + at : other.data());
      }
  const auto query = normalValues(headDim, 0.2f);
  float length = 0.0f;
  for (const float q : query)
    length += std::fabs(q);
  const float scale = 0.125f;
  // A score is off by at most half a step of its key for each input, a probability by the exponential of twice that.
  const double scoreBound = 0.5 * scale * length * maxKey / 127.0;
  const double bound = std::expm1(2 * scoreBound) * maxValue + 0.5 * maxValue / 127.0;
  double largest = 0;
  for (const int count : {1, 15, 16, 17, 255, 256, 257, 301}) {
    const auto exact = exactAttention(query.data(), keys.data(), values.data(), count, headDim, scale);
    const KeyValueRun run = cache.run(1, 1, count);
    for (const auto* kernels : allKernels()) {
      const auto out = attendOne(*kernels, run, CacheType::kI8, query, scale, std::nanf(""));
      for (int d = 0; d < headDim; ++d) {
        const double error = std::fabs(out[static_cast<std::size_t>(d)] - exact[static_cast<std::size_t>(d)]);
        largest = std::max(largest, error);
        CHECK_MESSAGE(error <= bound, "%s, %d positions: %g off, bound %g", nameOf(kernels), count, error, bound);
      }
    }
  }
  CHECK(largest > 1e-4); // it does round
}

TEST_CASE("attention: a query, key or value that is not finite leaves no finite answer, all cache types, every set") {
  const int headDim = 48;
  for (const auto type : {CacheType::kF32, CacheType::kF16, CacheType::kI8}) {
    for (const int count : {1, 7, 33, 300}) {
      for (const float bad : kNotFinite) {
        for (const int place : {0, 1, 2}) { // query, key, value
          const int at = count - 1;
          KeyValueCache cache(1, 1, headDim, count, type);
          // Of one sign, so that a score can be −∞: it has no share in the softmax.
          std::vector<float> query(headDim, 0.25f);
          for (int position = 0; position < count; ++position) {
            std::vector<float> key(headDim, 0.5f), value(headDim, 1.0f);
            if (position == at && place != 0)
              (place == 1 ? key : value)[5] = bad;
            cache.store(0, 0, position, key.data(), value.data());
          }
          if (place == 0)
            query[5] = bad;
          const KeyValueRun run = cache.run(0, 0, count);
          for (const auto* kernels : allKernels()) {
            const auto out = attendOne(*kernels, run, type, query, 1.0f, 0.0f);
            CHECK_MESSAGE(!std::isfinite(out[5]), "%s, %g as %s, %d positions, cache type %d: %g", nameOf(kernels), bad,
                          place == 0   ? "query"
                          : place == 1 ? "key"
                                       : "value",
                          count, static_cast<int>(type), out[5]);
          }
        }
      }
    }
  }
}
