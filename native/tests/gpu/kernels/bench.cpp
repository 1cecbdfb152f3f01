#include "tests/gpu/kernels/bench.h"

#include "cpu/kernels/half.h"
#include "gpu/kernels/decoderStep/decoderStep.h"
#include "gpu/kernels/elementwise/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <list>
#include <map>
#include <random>
#include <sstream>
#include <tuple>
#include <vector>

namespace scenebus::test {
namespace {

using namespace kernels;

/** Memory with random contents; what it holds decides nothing but must be finite. */
class RandomMemory {
 public:
  RandomMemory(cuda::Device& device, cuda::Stream stream) : mDevice(device), mStream(stream) {
    std::mt19937_64 generator(20261125);
    mBytes.resize(kPatternBytes / 8);
    for (auto& word : mBytes)
      word = generator();
    std::uniform_real_distribution<float> small(-0.01f, 0.01f);
    mHalves.resize(kPatternBytes / 2);
    for (auto& half : mHalves)
      half = cpu::f16FromFloat(small(generator));
  }

  cuda::DevicePointer bytes(std::size_t count) { return filled(count, mBytes.data()); }
  cuda::DevicePointer halves(std::size_t count) { return filled(count * 2, mHalves.data()); }
  cuda::DevicePointer zeros(std::size_t bytes) {
    const auto pointer = keep(bytes);
    mDevice.fill(pointer, 0, bytes, mStream);
    mDevice.synchronize(mStream);
    return pointer;
  }

  Int4Weight weight(int outputs, int inputs) {
    const auto count = static_cast<std::size_t>(outputs) * static_cast<std::size_t>(inputs);
    return {bytes(count / 2), halves(count / 128), outputs, inputs, 128, ElementType::kF16};
  }

  void clear() { mKept.clear(); }

 private:
  static constexpr std::size_t kPatternBytes = std::size_t{1} << 20;

  cuda::DevicePointer keep(std::size_t bytes) {
    mKept.emplace_back(mDevice, bytes);
    return mKept.back().get();
  }
  cuda::DevicePointer filled(std::size_t bytes, const void* pattern) {
    const auto pointer = keep(bytes);
    std::size_t done = std::min(bytes, kPatternBytes);
    mDevice.copyToDevice(pointer, pattern, done, mStream);
    for (; done < bytes; done += std::min(done, bytes - done))
      mDevice.copyOnDevice(pointer + done, pointer, std::min(done, bytes - done), mStream);
    mDevice.synchronize(mStream);
    return pointer;
  }

  cuda::Device& mDevice;
  cuda::Stream mStream;
  std::vector<std::uint64_t> mBytes;
  std::vector<std::uint16_t> mHalves;
  std::list<cuda::DeviceBuffer> mKept;
};

double bytesOf(const Int4Weight& weight) {
  return static_cast<double>(weight.outputs) * weight.inputs * (0.5 + 2.0 / weight.groupSize);
}

class Bench {
 public:
  Bench(cuda::Device& device, cuda::Stream stream, const BenchScale& scale)
      : mDevice(device), mStream(stream), mScale(scale), mMemory(device, stream) {}

  std::string run() {
    const auto& info = mDevice.info();
    std::printf("%s, sm_%d%d, %d SMs, %.1f GB, driver %d\n", info.name.c_str(), info.smMajor, info.smMinor, info.smCount,
                static_cast<double>(info.totalBytes) / 1e9, info.driverVersion);
    mJson << "{\"device\":\"" << info.name << "\",\"sm\":" << info.smMajor * 10 + info.smMinor
          << ",\"smCount\":" << info.smCount << ",\"driver\":" << info.driverVersion << ",\"results\":[";
    copyBandwidth();
    gemv();
    gemm();
    attention();
    decoder();
    mJson << "]}";
    return mJson.str();
  }

 private:
  /** Median over some rounds of `work`, captured as a graph, in ms. */
  double measure(const std::function<void()>& work) {
    work(); // loads what it needs
    mDevice.synchronize(mStream);
    const auto graph = mDevice.capture(mStream, work);
    const auto begin = mDevice.createEvent(), end = mDevice.createEvent();
    std::vector<double> times;
    for (int round = 0; round < mScale.rounds + 1; ++round) {
      mDevice.recordEvent(begin, mStream);
      mDevice.launchGraph(*graph, mStream);
      mDevice.recordEvent(end, mStream);
      mDevice.synchronize(mStream);
      if (round > 0) // the first one raises the clocks
        times.push_back(mDevice.elapsedMs(begin, end));
    }
    mDevice.destroyEvent(begin);
    mDevice.destroyEvent(end);
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
  }

  /** `bytes` and `operations` of one of `repeats` that took `ms` together. */
  void report(const std::string& name, double ms, double bytes, double operations, int repeats = 1) {
    const double each = ms / repeats;
    const double gigabytes = bytes / each / 1e6, fraction = mCopyGigabytes > 0 ? gigabytes / mCopyGigabytes : 1.0;
    if (bytes > 0)
      std::printf("%-44s %10.4f ms %9.1f GB/s  %5.2f of copy", name.c_str(), each, gigabytes, fraction);
    else
      std::printf("%-44s %10.4f ms", name.c_str(), each);
    if (operations > 0)
      std::printf(" %8.2f TFLOP/s", operations / each / 1e9);
    std::printf("\n");
    std::fflush(stdout);
    mJson << (mFirst ? "" : ",") << "{\"name\":\"" << name << "\",\"ms\":" << each;
    if (bytes > 0)
      mJson << ",\"gigabytesPerSecond\":" << gigabytes << ",\"ofCopyBandwidth\":" << fraction;
    if (operations > 0)
      mJson << ",\"teraflops\":" << operations / each / 1e9;
    mJson << "}";
    mFirst = false;
  }

  void copyBandwidth() {
    const std::size_t bytes = mScale.spreadBytes;
    const auto from = mMemory.bytes(bytes), to = mMemory.bytes(bytes);
    const double ms = measure([&] { mDevice.copyOnDevice(to, from, bytes, mStream); });
    // Each byte is read and written.
    report("device copy", ms, 2.0 * static_cast<double>(bytes), 0);
    mCopyGigabytes = 2.0 * static_cast<double>(bytes) / ms / 1e6;
    mMemory.clear();
  }

  void gemv() {
    const int keyValue = mScale.kvHeads * mScale.headDim;
    const std::pair<int, int> shapes[] = {{mScale.hidden, mScale.hidden},
                                          {keyValue, mScale.hidden},
                                          {mScale.intermediate, mScale.hidden},
                                          {mScale.hidden, mScale.intermediate}};
    for (const auto& [outputs, inputs] : shapes) {
      std::vector<Int4Weight> weights;
      double total = 0;
      while (total < static_cast<double>(mScale.spreadBytes)) {
        weights.push_back(mMemory.weight(outputs, inputs));
        total += bytesOf(weights.back());
      }
      const auto x = mMemory.halves(static_cast<std::size_t>(kInt4GemvRows) * static_cast<std::size_t>(inputs));
      const auto y = mMemory.zeros(static_cast<std::size_t>(kInt4GemvRows) * static_cast<std::size_t>(outputs) * 2);
      for (const int rows : {1, 2, 4, 8}) {
        const double ms = measure([&] {
          for (const auto& weight : weights)
            int4MatMul(mDevice, mStream, x, rows, weight, y);
        });
        report("int4 " + std::to_string(inputs) + " -> " + std::to_string(outputs) + ", rows " + std::to_string(rows), ms,
               bytesOf(weights[0]), 0, static_cast<int>(weights.size()));
      }
      mMemory.clear();
    }
  }

  void gemm() {
    const int rows = mScale.prefillRows;
    for (const auto& [outputs, inputs] : {std::pair<int, int>{mScale.hidden, mScale.hidden},
                                          {mScale.intermediate, mScale.hidden},
                                          {mScale.hidden, mScale.intermediate}}) {
      const auto weight = mMemory.weight(outputs, inputs);
      const auto x = mMemory.halves(static_cast<std::size_t>(rows) * static_cast<std::size_t>(inputs));
      const auto y = mMemory.zeros(static_cast<std::size_t>(rows) * static_cast<std::size_t>(outputs) * 2);
      const double ms = measure([&] { int4MatMul(mDevice, mStream, x, rows, weight, y); });
      report("int4 " + std::to_string(inputs) + " -> " + std::to_string(outputs) + ", rows " + std::to_string(rows), ms, 0,
             2.0 * rows * outputs * inputs);
      mMemory.clear();
    }
  }

  HeadShape heads() const { return {mScale.heads, mScale.kvHeads, mScale.headDim}; }
  std::size_t cacheHalves(int positions) const {
    return static_cast<std::size_t>(mScale.kvHeads) * static_cast<std::size_t>(positions) * static_cast<std::size_t>(mScale.headDim);
  }

  void attention() {
    const int most = std::max(mScale.prefillRows, 8);
    const auto rowHalves = static_cast<std::size_t>(most) * static_cast<std::size_t>(mScale.heads * mScale.headDim);
    // As many layers' caches as no cache of the device holds.
    const auto layers = static_cast<int>(std::clamp<std::size_t>(mScale.spreadBytes / (cacheHalves(mScale.capacity) * 4), 1, 32));
    const auto past = mMemory.zeros(4);
    const auto tables = mMemory.zeros(static_cast<std::size_t>(mScale.capacity) * static_cast<std::size_t>(mScale.headDim) * 4);
    const auto q = mMemory.halves(rowHalves), k = mMemory.halves(rowHalves), v = mMemory.halves(rowHalves);
    const auto attended = mMemory.zeros(rowHalves * 2);
    const auto workspace = mMemory.zeros(attentionWorkspaceBytes(mDevice.info(), heads(), 8));
    std::vector<cuda::DevicePointer> keys, values;
    for (int layer = 0; layer < layers; ++layer) {
      keys.push_back(mMemory.halves(cacheHalves(std::max(mScale.capacity, mScale.crossKeys))));
      values.push_back(mMemory.halves(cacheHalves(std::max(mScale.capacity, mScale.crossKeys))));
    }
    const auto self = [&](int rows, int context) {
      const std::int32_t length = context;
      mDevice.copyToDevice(past, &length, 4, mStream);
      mDevice.synchronize(mStream);
      const double ms = measure([&] {
        for (std::size_t i = 0; i < keys.size(); ++i)
          kvAttention(mDevice, mStream, {heads(), rows, mScale.capacity, q, k, v, keys[i], values[i], past, tables, tables,
                                         workspace, attended});
      });
      const double operations = 4.0 * rows * (context + rows / 2.0) * mScale.heads * mScale.headDim;
      report("KV attention, context " + std::to_string(context) + ", rows " + std::to_string(rows), ms,
             rows <= 8 ? 4.0 * static_cast<double>(cacheHalves(context)) : 0, rows > 8 ? operations : 0, layers);
    };
    self(1, std::min(128, mScale.context));
    self(1, mScale.context);
    self(8, mScale.context);
    self(mScale.prefillRows, 0);

    const auto bias = mMemory.zeros(static_cast<std::size_t>(most) * static_cast<std::size_t>(mScale.crossKeys) * 4);
    for (const int count : {mScale.crossKeys / 4, mScale.crossKeys}) {
      const double ms = measure([&] {
        for (std::size_t i = 0; i < keys.size(); ++i)
          crossAttention(mDevice, mStream, {heads(), 1, count, q, keys[i], values[i], bias, workspace, attended});
      });
      report("cross-attention, keys " + std::to_string(count) + ", rows 1", ms, 4.0 * static_cast<double>(cacheHalves(count)), 0,
             layers);
    }
    mMemory.clear();
  }

  void decoder() {
    DecoderModel model;
    model.heads = heads();
    model.hidden = mScale.hidden;
    model.intermediate = mScale.intermediate;
    model.vocabulary = mScale.vocabulary;
    model.capacity = mScale.capacity;
    const int query = mScale.heads * mScale.headDim, keyValue = mScale.kvHeads * mScale.headDim;
    const auto vector = [&](int size) { return mMemory.halves(static_cast<std::size_t>(size)); };
    double weightBytes = 0, crossBytes = 0;
    const auto weight = [&](int outputs, int inputs) {
      const Int4Weight result = mMemory.weight(outputs, inputs);
      weightBytes += bytesOf(result);
      return DecoderLinear{result, 0};
    };
    DecoderInputs inputs;
    int selfLayers = 0;
    for (int i = 0; i < mScale.layers; ++i) {
      DecoderLayer layer;
      layer.isCross = i % 5 == 3; // 3, 8, … 38
      layer.inputNorm = vector(mScale.hidden);
      layer.postAttentionNorm = vector(mScale.hidden);
      layer.query = weight(query, mScale.hidden);
      if (layer.isCross) {
        layer.queryNorm = vector(mScale.headDim);
        crossBytes += 4.0 * static_cast<double>(cacheHalves(mScale.crossKeys));
      } else {
        layer.key = weight(keyValue, mScale.hidden);
        layer.value = weight(keyValue, mScale.hidden);
        ++selfLayers;
      }
      layer.output = weight(mScale.hidden, query);
      layer.gate = weight(mScale.intermediate, mScale.hidden);
      layer.up = weight(mScale.intermediate, mScale.hidden);
      layer.down = weight(mScale.hidden, mScale.intermediate);
      layer.attentionGate = layer.mlpGate = 0.5f;
      inputs.keys.push_back(mMemory.halves(cacheHalves(layer.isCross ? mScale.crossKeys : mScale.capacity)));
      inputs.values.push_back(mMemory.halves(cacheHalves(layer.isCross ? mScale.crossKeys : mScale.capacity)));
      model.layers.push_back(layer);
    }
    model.finalNorm = vector(mScale.hidden);
    model.head = weight(mScale.vocabulary, mScale.hidden);
    model.cosines = model.sines = mMemory.zeros(static_cast<std::size_t>(mScale.capacity) * static_cast<std::size_t>(mScale.headDim) * 2);
    const auto past = mMemory.zeros(4);
    inputs.embeddings = mMemory.halves(static_cast<std::size_t>(8 * mScale.hidden));
    inputs.pastLength = past;
    inputs.crossBias = mMemory.zeros(static_cast<std::size_t>(8) * static_cast<std::size_t>(mScale.crossKeys) * 4);
    inputs.crossAttentionRows = inputs.crossMlpRows = mMemory.zeros(8 * 4);
    inputs.logits = mMemory.zeros(static_cast<std::size_t>(8) * static_cast<std::size_t>(mScale.vocabulary) * 4);
    DecoderStep step(mDevice, mStream, model, 8);

    const double limitScale = mCopyGigabytes * 1e6; // bytes a ms
    for (const auto& [rows, context, crossKeys] :
         {std::tuple<int, int, int>{1, std::min(128, mScale.context), mScale.crossKeys},
          {1, std::min(128, mScale.context), mScale.crossKeys / 4},
          {1, mScale.context, mScale.crossKeys},
          {8, std::min(128, mScale.context), mScale.crossKeys}}) {
      const std::int32_t length = context;
      mDevice.copyToDevice(past, &length, 4, mStream);
      mDevice.synchronize(mStream);
      inputs.rows = rows;
      inputs.crossKeys = crossKeys;
      const double ms = measure([&] { step.run(mStream, inputs); });
      const double bytes = weightBytes + crossBytes * crossKeys / mScale.crossKeys +
                           selfLayers * 4.0 * static_cast<double>(cacheHalves(context));
      report("decoder step, rows " + std::to_string(rows) + ", context " + std::to_string(context) + ", keys " +
                 std::to_string(crossKeys),
             ms, bytes, 0);
      std::printf("%-44s %10.2f steps/s, %.2f at copy bandwidth\n", "", 1000.0 / ms, 1000.0 * limitScale / bytes);
    }
    mMemory.clear();
  }

  cuda::Device& mDevice;
  cuda::Stream mStream;
  BenchScale mScale;
  RandomMemory mMemory;
  double mCopyGigabytes = 0;
  std::ostringstream mJson;
  bool mFirst = true;
};

} // namespace

BenchScale smallBenchScale() {
  BenchScale scale;
  scale.layers = 5;
  scale.hidden = 256;
  scale.heads = 4;
  scale.kvHeads = 2;
  scale.headDim = 64;
  scale.intermediate = 384;
  scale.vocabulary = 300;
  scale.crossKeys = 64;
  scale.capacity = 96;
  scale.context = 64;
  scale.prefillRows = 24;
  scale.spreadBytes = 1 << 16;
  scale.rounds = 1;
  return scale;
}

std::string runBench(cuda::Device& device, cuda::Stream stream, const BenchScale& scale) {
  return Bench(device, stream, scale).run();
}

} // namespace scenebus::test
