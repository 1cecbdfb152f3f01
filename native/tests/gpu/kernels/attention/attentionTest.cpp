#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/reference/reference.h"
#include "tests/gpu/kernels/kernelTest.h"

#include <algorithm>
#include <limits>

using namespace scenebus;
using namespace scenebus::test;
using namespace scenebus::kernels;

namespace {

std::size_t sizeOf(int a, int b, int c = 1) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
}

/** Angles as of positions of a model. */
void ropeTables(int capacity, int headDim, Floats& cosines, Floats& sines) {
  for (int position = 0; position < capacity; ++position)
    for (int i = 0; i < headDim / 2; ++i) {
      const double angle = position * std::pow(10000.0, -2.0 * i / headDim);
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
}

void checkSelf(const HeadShape& shape, int rows, int past, int capacity) {
  const reference::Heads heads{shape.heads, shape.kvHeads, shape.headDim};
  Floats cosines, sines;
  ropeTables(capacity, shape.headDim, cosines, sines);
  const Floats q = asHalves(normal(sizeOf(rows, shape.heads, shape.headDim)));
  const Floats k = asHalves(normal(sizeOf(rows, shape.kvHeads, shape.headDim)));
  const Floats v = asHalves(normal(sizeOf(rows, shape.kvHeads, shape.headDim)));
  const std::size_t cached = sizeOf(shape.kvHeads, capacity, shape.headDim);
  // What lies behind the context must not count: NaN.
  Floats keys(cached, std::numeric_limits<float>::quiet_NaN()), values = keys;
  for (int head = 0; head < shape.kvHeads; ++head)
    for (std::size_t i = 0; i < sizeOf(past, shape.headDim); ++i) {
      keys[sizeOf(head, capacity, shape.headDim) + i] = asHalves(normal(1))[0];
      values[sizeOf(head, capacity, shape.headDim) + i] = asHalves(normal(1))[0];
    }

  const auto deviceQ = upload(toHalves(q)), deviceK = upload(toHalves(k)), deviceV = upload(toHalves(v));
  const auto deviceCosines = upload(cosines), deviceSines = upload(sines);
  const auto devicePast = upload(std::vector<std::int32_t>{past});
  const Bytes bytes = runTwice([&] {
    const auto keyCache = upload(toHalves(keys)), valueCache = upload(toHalves(values));
    cuda::DeviceBuffer workspace(device(), attentionWorkspaceBytes(device().info(), shape, rows));
    cuda::DeviceBuffer attended(device(), q.size() * 2);
    kvAttention(device(), stream(),
                {shape, rows, capacity, deviceQ.get(), deviceK.get(), deviceV.get(), keyCache.get(), valueCache.get(),
                 devicePast.get(), deviceCosines.get(), deviceSines.get(), workspace.get(), attended.get()});
    Bytes all = download(attended);
    for (const auto* cache : {&keyCache, &valueCache}) {
      const Bytes part = download(*cache);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  });

  Floats rotatedQ = q, rotatedK = k;
  reference::rotate(rotatedQ, rows, shape.heads, shape.headDim, past, cosines, sines);
  reference::rotate(rotatedK, rows, shape.kvHeads, shape.headDim, past, cosines, sines);
  for (int row = 0; row < rows; ++row)
    for (int head = 0; head < shape.kvHeads; ++head)
      for (std::size_t d = 0; d < static_cast<std::size_t>(shape.headDim); ++d) {
        const std::size_t from = sizeOf(row * shape.kvHeads + head, shape.headDim) + d;
        const std::size_t to = sizeOf(head * capacity + past + row, shape.headDim) + d;
        keys[to] = asHalves({rotatedK[from]})[0];
        values[to] = v[from];
      }
  const Floats all = fromHalves(as<std::uint16_t>(bytes));
  const auto part = [&](std::size_t from, std::size_t count) {
    return Floats(all.begin() + static_cast<std::ptrdiff_t>(from),
                  all.begin() + static_cast<std::ptrdiff_t>(from + count));
  };
  const auto withoutNan = [](Floats list) {
    std::replace_if(
        list.begin(), list.end(), [](float value) { return std::isnan(value); }, -77.0f);
    return list;
  };
  // Queries and weights are rounded to halves on the way.
  CHECK_CLOSE(part(0, q.size()),
              reference::attention(asHalves(rotatedQ), rows, heads, keys, values, capacity, past + rows, past, {}),
              3e-3, 2e-3, "%d rows after %d, head size %d", rows, past, shape.headDim);
  // A product of two turned values may be fused with the sum or not: one rounding of a half.
  CHECK_CLOSE(withoutNan(part(q.size(), cached)), withoutNan(keys), 1e-4, 1e-3, "key cache, %d rows after %d", rows,
              past);
  CHECK_CLOSE(withoutNan(part(q.size() + cached, cached)), withoutNan(values), 0, 1e-9, "value cache, %d rows after %d",
              rows, past);
}

/** The first `seen[row]` keys are seen, with some bias. */
void checkCross(const HeadShape& shape, int rows, int keys, const std::vector<int>& seen) {
  const reference::Heads heads{shape.heads, shape.kvHeads, shape.headDim};
  const Floats q = asHalves(normal(sizeOf(rows, shape.heads, shape.headDim)));
  const Floats key = asHalves(normal(sizeOf(shape.kvHeads, keys, shape.headDim)));
  const Floats value = asHalves(normal(sizeOf(shape.kvHeads, keys, shape.headDim)));
  Floats bias;
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < keys; ++i)
      bias.push_back(i < seen[static_cast<std::size_t>(row) % seen.size()] ? (i % 3 == 0 ? 0.5f : 0.0f)
                                                                           : std::numeric_limits<float>::lowest());
  const auto deviceQ = upload(toHalves(q)), deviceKey = upload(toHalves(key)), deviceValue = upload(toHalves(value));
  const auto deviceBias = upload(bias);
  const Bytes bytes = runTwice([&] {
    cuda::DeviceBuffer workspace(device(), attentionWorkspaceBytes(device().info(), shape, rows));
    cuda::DeviceBuffer attended(device(), q.size() * 2);
    crossAttention(device(), stream(),
                   {shape, rows, keys, deviceQ.get(), deviceKey.get(), deviceValue.get(), deviceBias.get(),
                    workspace.get(), attended.get()});
    return download(attended);
  });
  CHECK_CLOSE(fromHalves(as<std::uint16_t>(bytes)),
              reference::attention(q, rows, heads, key, value, keys, keys, -1, bias), 3e-3, 2e-3,
              "%d rows, %d keys, head size %d", rows, keys, shape.headDim);
}

} // namespace

TEST_CASE("self-attention stays inside its caches whatever the length of the past says") {
  // The emulated device knows the bounds of allocations only of its own calls: rows around the caches are looked at
  // here.
  for (const HeadShape shape : {HeadShape{4, 2, 64}, HeadShape{4, 2, 16}})
    for (const int rows : {1, 9})
      for (const std::int32_t past :
           {-1, -7, std::numeric_limits<std::int32_t>::min(), 40, std::numeric_limits<std::int32_t>::max() - 16}) {
        constexpr int capacity = 24, guard = 64;
        Floats cosines, sines;
        ropeTables(capacity, shape.headDim, cosines, sines);
        const auto q = upload(toHalves(asHalves(normal(sizeOf(rows, shape.heads, shape.headDim)))));
        const auto k = upload(toHalves(asHalves(normal(sizeOf(rows, shape.kvHeads, shape.headDim)))));
        const auto deviceCosines = upload(cosines), deviceSines = upload(sines);
        const std::size_t cached = sizeOf(shape.kvHeads, capacity, shape.headDim),
                          margin = sizeOf(guard, shape.headDim);
        const std::vector<std::uint16_t> filled(cached + 2 * margin, 0x3c00);
        const auto run = [&](std::int32_t length) {
          const auto keyCache = upload(filled), valueCache = upload(filled);
          const auto devicePast = upload(std::vector<std::int32_t>{length});
          cuda::DeviceBuffer workspace(device(), attentionWorkspaceBytes(device().info(), shape, rows));
          cuda::DeviceBuffer attended(device(), sizeOf(rows, shape.heads, shape.headDim) * 2);
          kvAttention(device(), stream(),
                      {shape, rows, capacity, q.get(), k.get(), k.get(), keyCache.get() + margin * 2,
                       valueCache.get() + margin * 2, devicePast.get(), deviceCosines.get(), deviceSines.get(),
                       workspace.get(), attended.get()});
          for (const auto* cache : {&keyCache, &valueCache}) {
            const auto after = as<std::uint16_t>(download(*cache));
            for (std::size_t i = 0; i < margin; ++i)
              CHECK_MESSAGE(after[i] == 0x3c00 && after[after.size() - 1 - i] == 0x3c00, "past %d", length);
          }
          return download(attended);
        };
        CHECK_MESSAGE(run(past) == run(past < 0 ? 0 : capacity), "past %d, %d rows", past, rows);
      }
}

TEST_CASE("self-attention of few rows, around the borders of tiles and splits") {
  // The emulated device has 16 SMs: with two key/value heads 16 splits, of at least 16 keys each.
  for (const int past : {0, 1, 15, 16, 63, 64, 255, 257})
    checkSelf({4, 2, 64}, 1, past, 300);
  for (const int rows : {2, 3, 5, 8})
    checkSelf({8, 2, 128}, rows, 61 + rows, 100);
  checkSelf({4, 4, 128}, 8, 250, 258); // up to the last place of the cache
  checkSelf({20, 1, 64}, 2, 30, 64);   // more heads than a tile has vectors
}

TEST_CASE("self-attention of many rows") {
  checkSelf({4, 2, 64}, 9, 0, 64);
  checkSelf({4, 2, 64}, 70, 61, 140);
  checkSelf({4, 1, 128}, 33, 100, 133);
  checkSelf({2, 2, 128}, 65, 0, 80);
}

TEST_CASE("self-attention with head sizes that have no fast path") {
  checkSelf({4, 2, 16}, 1, 20, 40);
  checkSelf({4, 2, 16}, 12, 5, 40);
  checkSelf({2, 1, 40}, 3, 17, 32);
  checkSelf({2, 2, 256}, 1, 9, 16);
}

TEST_CASE("cross-attention of few rows reads the keys that are seen") {
  checkCross({4, 2, 64}, 1, 401, {401});
  checkCross({4, 2, 64}, 1, 401, {1});
  checkCross({8, 2, 128}, 3, 150, {100, 150, 37});
  checkCross({8, 2, 128}, 8, 33, {33, 0, 17}); // a row that sees nothing gets zeros
  checkCross({4, 2, 80}, 2, 50, {50, 20});
}

TEST_CASE("cross-attention of many rows reads the keys that are seen") {
  checkCross({4, 2, 64}, 40, 201, {201, 100, 0});
  checkCross({4, 1, 128}, 20, 65, {64, 65});
  checkCross({2, 1, 24}, 10, 30, {30, 11});
}

TEST_CASE("head sizes and counts that cannot be are refused") {
  const auto refused = [](const HeadShape& shape) {
    try {
      kvAttention(device(), stream(), {shape, 1, 16, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256});
    } catch (const cuda::CudaError& error) {
      return error.code() == "ERR_ENGINE_FAILED";
    }
    return false;
  };
  CHECK(refused({4, 3, 64}));
  CHECK(refused({4, 2, 12}));
  CHECK(refused({4, 2, 264}));
}
