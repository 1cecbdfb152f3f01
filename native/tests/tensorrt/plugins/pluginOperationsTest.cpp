#include "cpu/kernels/half.h"
#include "tests/support/checks.h"
#include "tests/gpu/emulation/emulatedDevice.h"
#include "gpu/kernels/reference/reference.h"
#include "tensorrt/runtime/deviceMemory.h"
#include "tensorrt/plan/inPlaceWatch.h"
#include "tensorrt/plugins/pluginOperations.h"
#include "tests/tensorrt/support/testFolder.h"

#include <cmath>

using namespace scenebus;
using namespace scenebus::tensorrt;
using namespace scenebus::test;
using Floats = std::vector<float>;

namespace {

constexpr TensorType kHalf = TensorType::kFloat16;

/** Inputs and outputs of an operation on the emulated device. */
struct Bench {
  emulation::EmulatedDevice device;
  StreamOwner stream{device};
  std::vector<cuda::DeviceBuffer> memory;

  template <typename T>
  void* put(const std::vector<T>& values) {
    memory.emplace_back(device, std::max<std::size_t>(16, values.size() * sizeof(T)));
    device.copyToDevice(memory.back().get(), values.data(), values.size() * sizeof(T), stream.get());
    device.synchronize(stream.get());
    return reinterpret_cast<void*>(memory.back().get());
  }
  void* putHalves(const Floats& values) {
    std::vector<std::uint16_t> halves;
    for (const float value : values)
      halves.push_back(cpu::f16FromFloat(value));
    return put(halves);
  }
  void* room(std::size_t bytes) { return put(std::vector<std::uint8_t>(bytes)); }
  Floats halves(const void* from, std::size_t count) {
    std::vector<std::uint16_t> bits(count);
    device.copyToHost(bits.data(), reinterpret_cast<cuda::DevicePointer>(from), count * 2, stream.get());
    device.synchronize(stream.get());
    Floats values;
    for (const auto each : bits)
      values.push_back(cpu::floatFromF16(each));
    return values;
  }
};

/** Small values that a half holds exactly. */
Floats pattern(std::size_t count, int seed) {
  Floats values;
  for (std::size_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>(static_cast<int>((i * 37 + static_cast<std::size_t>(seed) * 11) % 33) - 16) / 16.0f);
  return values;
}

double distance(const Floats& a, const Floats& b) {
  double most = a.size() == b.size() ? 0 : 1e9;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    most = std::max(most, std::isnan(a[i]) ? 1e9 : std::fabs(static_cast<double>(a[i]) - b[i]));
  return most;
}

} // namespace

TEST_CASE("plugins: Int4MatMul on the checkpoint's layout, few rows and many") {
  for (const int rows : {1, 9}) {
    const int inputs = 64, outputs = 24, group = 32;
    const auto operation = makePluginOperation("Int4MatMul", {{"K", inputs}, {"N", outputs}, {"group", group}});
    Bench bench;
    const Floats x = pattern(static_cast<std::size_t>(rows) * inputs, 1), scales = pattern(outputs * inputs / group, 2);
    std::vector<std::uint8_t> packed;
    for (int i = 0; i < outputs * inputs / 2; ++i)
      packed.push_back(static_cast<std::uint8_t>(i * 29 + 3));
    const std::vector<PluginTensor> tensors{{kHalf, {rows, inputs}},
                                            {TensorType::kInt32, {outputs, inputs / 8}},
                                            {kHalf, {outputs, inputs / group}}};
    CHECK(operation->problemWith(tensors).empty());
    const void* in[] = {bench.putHalves(x), bench.put(packed), bench.putHalves(scales)};
    void* out[] = {bench.room(static_cast<std::size_t>(rows) * outputs * 2)};
    operation->run(bench.device, bench.stream.get(), tensors, in, out, nullptr);
    const Floats expected = kernels::reference::int4MatMul(x, rows, packed, scales, outputs, inputs, group);
    CHECK_MESSAGE(distance(bench.halves(out[0], expected.size()), expected) < 0.1, "%d rows", rows);
  }
}

TEST_CASE("plugins: KvAttention writes present over past, and beside it when it must") {
  const int heads = 4, kvHeads = 2, dim = 64, capacity = 20, rows = 3, past = 5;
  const auto operation = makePluginOperation(
      "KvAttention", {{"heads", heads}, {"kvHeads", kvHeads}, {"headDim", dim}, {"capacity", capacity}});
  CHECK(operation->aliasedInput(0) == -1);
  CHECK(operation->aliasedInput(1) == 3 && operation->aliasedInput(2) == 4);
  Floats q = pattern(rows * heads * dim, 1), k = pattern(rows * kvHeads * dim, 2);
  const Floats v = pattern(rows * kvHeads * dim, 3);
  Floats keys = pattern(kvHeads * capacity * dim, 4), values = pattern(kvHeads * capacity * dim, 5);
  Floats cosines, sines;
  for (int i = 0; i < capacity * dim / 2; ++i) {
    cosines.push_back(static_cast<float>(std::cos(i * 0.1)));
    sines.push_back(static_cast<float>(std::sin(i * 0.1)));
  }
  const std::vector<PluginTensor> tensors{{kHalf, {rows, heads, dim}},
                                          {kHalf, {rows, kvHeads, dim}},
                                          {kHalf, {rows, kvHeads, dim}},
                                          {kHalf, {1, kvHeads, capacity, dim}},
                                          {kHalf, {1, kvHeads, capacity, dim}},
                                          {TensorType::kInt32, {1}},
                                          {TensorType::kFloat32, {capacity, dim / 2}},
                                          {TensorType::kFloat32, {capacity, dim / 2}}};
  CHECK(operation->problemWith(tensors).empty());
  Floats results[2];
  for (const bool inPlace : {true, false}) {
    Bench bench;
    const void* in[] = {bench.putHalves(q),    bench.putHalves(k),
                        bench.putHalves(v),    bench.putHalves(keys),
                        bench.putHalves(values), bench.put(std::vector<std::int32_t>{past}),
                        bench.put(cosines),    bench.put(sines)};
    const std::size_t cache = keys.size() * 2;
    void* out[] = {bench.room(q.size() * 2), inPlace ? const_cast<void*>(in[3]) : bench.room(cache),
                   inPlace ? const_cast<void*>(in[4]) : bench.room(cache)};
    void* workspace = bench.room(operation->workspaceBytes(bench.device.info(), tensors));
    {
      const cuda::DevicePointer first = reinterpret_cast<cuda::DevicePointer>(in[3]),
                                second = reinterpret_cast<cuda::DevicePointer>(in[4]);
      const InPlaceWatch watch(std::min(first, second), std::max(first, second) - std::min(first, second) + 1);
      operation->run(bench.device, bench.stream.get(), tensors, in, out, workspace);
      CHECK(watch.copies() == (inPlace ? 0 : 2));
    }
    results[inPlace ? 0 : 1] = bench.halves(out[0], q.size());
    // A value is stored as it came, at its position; what was there before stays.
    const Floats present = bench.halves(out[2], values.size());
    CHECK(present[static_cast<std::size_t>(past) * dim] == v[0]);
    CHECK(present[static_cast<std::size_t>(capacity + past + 1) * dim + 7] == v[(kvHeads + 1) * dim + 7]);
    CHECK(present[0] == values[0]);
  }
  CHECK(results[0] == results[1]);
  using namespace kernels::reference;
  rotate(q, rows, heads, dim, past, cosines, sines);
  rotate(k, rows, kvHeads, dim, past, cosines, sines);
  for (int row = 0; row < rows; ++row)
    for (int head = 0; head < kvHeads; ++head)
      for (int d = 0; d < dim; ++d) {
        const std::size_t to = (static_cast<std::size_t>(head) * capacity + past + row) * dim + d;
        const std::size_t from = (static_cast<std::size_t>(row) * kvHeads + head) * dim + d;
        keys[to] = k[from];
        values[to] = v[from];
      }
  const Floats expected =
      attention(q, rows, {heads, kvHeads, dim}, keys, values, capacity, past + rows, past, {});
  CHECK(distance(results[0], expected) < 0.01);
}

TEST_CASE("plugins: CrossAttention sees the keys that the bias lets it see") {
  const int heads = 2, kvHeads = 1, dim = 64, keyCount = 19, rows = 2;
  const auto operation =
      makePluginOperation("CrossAttention", {{"heads", heads}, {"kvHeads", kvHeads}, {"headDim", dim}});
  Bench bench;
  const Floats q = pattern(rows * heads * dim, 1), keys = pattern(kvHeads * keyCount * dim, 2),
               values = pattern(kvHeads * keyCount * dim, 3);
  Floats bias(rows * keyCount, 0.0f);
  for (int key = 4; key < keyCount; ++key)
    bias[static_cast<std::size_t>(keyCount + key)] = -3.4028235e38f;
  const std::vector<PluginTensor> tensors{{kHalf, {rows, heads, dim}},
                                          {kHalf, {1, kvHeads, keyCount, dim}},
                                          {kHalf, {1, kvHeads, keyCount, dim}},
                                          {TensorType::kFloat32, {1, 1, rows, keyCount}}};
  CHECK(operation->problemWith(tensors).empty());
  const void* in[] = {bench.putHalves(q), bench.putHalves(keys), bench.putHalves(values), bench.put(bias)};
  void* out[] = {bench.room(q.size() * 2)};
  void* workspace = bench.room(operation->workspaceBytes(bench.device.info(), tensors));
  operation->run(bench.device, bench.stream.get(), tensors, in, out, workspace);
  const Floats expected =
      kernels::reference::attention(q, rows, {heads, kvHeads, dim}, keys, values, keyCount, keyCount, -1, bias);
  CHECK(distance(bench.halves(out[0], q.size()), expected) < 0.01);
}

TEST_CASE("plugins: attributes, shapes and types that cannot be are refused by name") {
  const auto refused = [](const std::string& name, const PluginFields& fields, const std::string& part) {
    const std::string failure = failureOf([&] { makePluginOperation(name, fields); });
    CHECK_MESSAGE(contains(failure, "ERR_MODEL_INVALID") && contains(failure, part), "%s", failure.c_str());
  };
  refused("Int4MatMul", {{"K", 64}, {"N", 8}}, "group");
  refused("Int4MatMul", {{"K", 64}, {"N", 8}, {"group", 48}}, "multiple");
  refused("Int4MatMul", {{"K", 0}, {"N", 8}, {"group", 32}}, "K of 1 or more");
  refused("CrossAttention", {{"heads", 5}, {"kvHeads", 2}, {"headDim", 64}}, "multiple of kvHeads");
  refused("Softmax", {}, "no plugin named Softmax");

  const auto product = makePluginOperation("Int4MatMul", {{"K", 64}, {"N", 8}, {"group", 32}});
  CHECK(contains(product->problemWith({{kHalf, {1, 64}}, {TensorType::kInt32, {8, 9}}, {kHalf, {8, 2}}}), "input 1"));
  CHECK(contains(product->problemWith({{kHalf, {1, 64}}}), "received nothing"));
  CHECK(product->problemWith({{kHalf, {-1, 64}}, {TensorType::kInt32, {8, 8}}, {kHalf, {8, 2}}}).empty());
  CHECK(product->takes(0, kHalf, {}) && !product->takes(0, TensorType::kBfloat16, {}));
  CHECK(product->takes(1, TensorType::kInt32, {kHalf}) && !product->takes(1, TensorType::kInt8, {kHalf}));
  CHECK(product->takes(2, TensorType::kBfloat16, {}) && product->takes(3, kHalf, {}));
}
