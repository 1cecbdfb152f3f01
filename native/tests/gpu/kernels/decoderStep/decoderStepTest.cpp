#include "gpu/kernels/decoderStep/decoderStep.h"

#include "tests/gpu/kernels/int4MatMul/int4Weights.h"

#include <algorithm>
#include <limits>
#include <list>

using namespace scenebus;
using namespace scenebus::test;
using namespace scenebus::kernels;

namespace {

std::size_t sizeOf(int a, int b, int c = 1) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
}

constexpr int kHidden = 128, kIntermediate = 192, kVocabulary = 77, kCapacity = 48, kCrossKeys = 40;
constexpr HeadShape kHeads{4, 2, 64};

/** A layer on the host, in the meaning of DecoderLayer. */
struct HostLayer {
  bool isCross;
  Floats inputNorm, postNorm, queryNorm;
  float attentionGate = 0.6f, mlpGate = 0.4f;
  const Int4Weights *query, *key = nullptr, *value = nullptr, *output, *gate, *up, *down;
  /** `[kvHeads, capacity or crossKeys, headDim]` */
  Floats keys, values;
};

/** Self, cross, self, with random weights; both on the device and in plain C++. */
class RandomDecoder {
 public:
  explicit RandomDecoder(bool halfHead) {
    for (const bool isCross : {false, true, false})
      addLayer(isCross);
    mFinalNorm = normWeight(kHidden);
    mModel.finalNorm = keep(upload(toHalves(mFinalNorm)));
    mHead = &weights(kVocabulary, kHidden, 128);
    mHalfHead = asHalves(normal(sizeOf(kVocabulary, kHidden), 0.05f));
    mModel.head.shape = mHead->onDevice();
    if (halfHead)
      mModel.head.half = keep(upload(toHalves(mHalfHead)));
    for (int position = 0; position < kCapacity; ++position)
      for (int i = 0; i < kHeads.headDim / 2; ++i) {
        mCosines.push_back(std::cos(static_cast<float>(position) / static_cast<float>(1 + i)));
        mSines.push_back(std::sin(static_cast<float>(position) / static_cast<float>(1 + i)));
      }
    mModel.heads = kHeads;
    mModel.hidden = kHidden;
    mModel.intermediate = kIntermediate;
    mModel.vocabulary = kVocabulary;
    mModel.capacity = kCapacity;
    mModel.cosines = keep(upload(mCosines));
    mModel.sines = keep(upload(mSines));
  }

  const DecoderModel& model() const { return mModel; }
  std::vector<cuda::DevicePointer> keys, values;

  /** Logits of all rows; appends to the host's caches. `seen[row]`: how many keys of the image, 0: none. */
  Floats reference(const Floats& embeddings, int past, const std::vector<int>& seen, bool withImage) {
    const int rows = static_cast<int>(seen.size());
    const reference::Heads heads{kHeads.heads, kHeads.kvHeads, kHeads.headDim};
    Floats hidden = embeddings, rowGates, bias;
    for (const int count : seen) {
      rowGates.push_back(count > 0 ? 1.0f : 0.0f);
      for (int i = 0; i < kCrossKeys; ++i)
        bias.push_back(count == 0 || i < count ? 0.0f : std::numeric_limits<float>::lowest());
    }
    for (auto& layer : mLayers) {
      if (layer.isCross && !withImage)
        continue;
      const Floats normed = reference::rmsNorm(hidden, rows, kHidden, layer.inputNorm, 1e-5f);
      Floats q = layer.query->times(normed, rows), attended;
      if (layer.isCross) {
        q = reference::rmsNorm(q, rows * kHeads.heads, kHeads.headDim, layer.queryNorm, 1e-5f);
        attended = reference::attention(q, rows, heads, layer.keys, layer.values, kCrossKeys, kCrossKeys, -1, bias);
      } else {
        Floats k = layer.key->times(normed, rows), v = layer.value->times(normed, rows);
        reference::rotate(q, rows, kHeads.heads, kHeads.headDim, past, mCosines, mSines);
        reference::rotate(k, rows, kHeads.kvHeads, kHeads.headDim, past, mCosines, mSines);
        for (int row = 0; row < rows; ++row)
          for (int head = 0; head < kHeads.kvHeads; ++head)
            for (std::size_t d = 0; d < static_cast<std::size_t>(kHeads.headDim); ++d) {
              const std::size_t from = sizeOf(row * kHeads.kvHeads + head, kHeads.headDim) + d;
              const std::size_t to = sizeOf(head * kCapacity + past + row, kHeads.headDim) + d;
              layer.keys[to] = k[from];
              layer.values[to] = v[from];
            }
        attended = reference::attention(q, rows, heads, layer.keys, layer.values, kCapacity, past + rows, past, {});
      }
      const Floats gates = layer.isCross ? rowGates : Floats{};
      hidden = reference::gatedAdd(hidden, layer.output->times(attended, rows), layer.isCross ? layer.attentionGate : 1.0f,
                                   gates, rows, kHidden);
      const Floats u = reference::rmsNorm(hidden, rows, kHidden, layer.postNorm, 1e-5f);
      const Floats activated = reference::siluMul(layer.gate->times(u, rows), layer.up->times(u, rows));
      hidden = reference::gatedAdd(hidden, layer.down->times(activated, rows), layer.isCross ? layer.mlpGate : 1.0f, gates,
                                   rows, kHidden);
    }
    hidden = reference::rmsNorm(hidden, rows, kHidden, mFinalNorm, 1e-5f);
    return mModel.head.half != 0 ? reference::matMul(hidden, rows, mHalfHead, kVocabulary, kHidden) : mHead->times(hidden, rows);
  }

 private:
  Floats normWeight(int size) {
    Floats values = normal(static_cast<std::size_t>(size), 0.1f);
    for (auto& value : values)
      value += 1.0f;
    return asHalves(values);
  }
  cuda::DevicePointer keep(cuda::DeviceBuffer buffer) {
    mBuffers.push_back(std::move(buffer));
    return mBuffers.back().get();
  }
  const Int4Weights& weights(int outputs, int inputs, int groupSize) {
    mWeights.emplace_back(outputs, inputs, groupSize);
    return mWeights.back();
  }
  void addLayer(bool isCross) {
    const int query = kHeads.heads * kHeads.headDim, keyValue = kHeads.kvHeads * kHeads.headDim;
    HostLayer host{};
    host.isCross = isCross;
    host.attentionGate = 0.6f;
    host.mlpGate = 0.4f;
    host.inputNorm = normWeight(kHidden);
    host.postNorm = normWeight(kHidden);
    host.queryNorm = normWeight(kHeads.headDim);
    host.query = &weights(query, kHidden, 128);
    host.output = &weights(kHidden, query, 128);
    host.gate = &weights(kIntermediate, kHidden, 128);
    host.up = &weights(kIntermediate, kHidden, 128);
    host.down = &weights(kHidden, kIntermediate, 64);
    DecoderLayer layer;
    layer.isCross = isCross;
    layer.inputNorm = keep(upload(toHalves(host.inputNorm)));
    layer.postAttentionNorm = keep(upload(toHalves(host.postNorm)));
    layer.queryNorm = keep(upload(toHalves(host.queryNorm)));
    layer.query.shape = host.query->onDevice();
    layer.output.shape = host.output->onDevice();
    layer.gate.shape = host.gate->onDevice();
    layer.up.shape = host.up->onDevice();
    layer.down.shape = host.down->onDevice();
    layer.attentionGate = host.attentionGate;
    layer.mlpGate = host.mlpGate;
    if (!isCross) {
      host.key = &weights(keyValue, kHidden, 128);
      host.value = &weights(keyValue, kHidden, 128);
      layer.key.shape = host.key->onDevice();
      layer.value.shape = host.value->onDevice();
    }
    const std::size_t cached = sizeOf(kHeads.kvHeads, isCross ? kCrossKeys : kCapacity, kHeads.headDim);
    host.keys = isCross ? asHalves(normal(cached)) : Floats(cached, 0.0f);
    host.values = isCross ? asHalves(normal(cached)) : Floats(cached, 0.0f);
    keys.push_back(keep(upload(toHalves(host.keys))));
    values.push_back(keep(upload(toHalves(host.values))));
    mLayers.push_back(std::move(host));
    mModel.layers.push_back(layer);
  }

  std::list<Int4Weights> mWeights;
  std::list<cuda::DeviceBuffer> mBuffers;
  std::vector<HostLayer> mLayers;
  Floats mFinalNorm, mHalfHead, mCosines, mSines;
  const Int4Weights* mHead = nullptr;
  DecoderModel mModel;
};

/** Device memory of the inputs of a step; their addresses stay, as a captured graph needs. */
struct StepInputs {
  cuda::DeviceBuffer embeddings{device(), 16 * kHidden * 2}, past{device(), 4}, bias{device(), 16 * kCrossKeys * 4},
      rowGates{device(), 16 * 4}, logitsRows{device(), 16 * 4}, logits{device(), 16 * kVocabulary * 4};

  template <typename T> void write(const cuda::DeviceBuffer& buffer, const std::vector<T>& list) {
    device().copyToDevice(buffer.get(), list.data(), list.size() * sizeof(T), stream());
    device().synchronize(stream());
  }

  void set(const Floats& rows, int pastLength, const std::vector<int>& seen) {
    Floats gates, biases;
    for (const int count : seen) {
      gates.push_back(count > 0 ? 1.0f : 0.0f);
      for (int i = 0; i < kCrossKeys; ++i)
        biases.push_back(count == 0 || i < count ? 0.0f : std::numeric_limits<float>::lowest());
    }
    write(embeddings, toHalves(rows));
    write(past, std::vector<std::int32_t>{pastLength});
    write(bias, biases);
    write(rowGates, gates);
  }

  DecoderInputs of(const RandomDecoder& decoder, int rows, bool withImage) const {
    DecoderInputs inputs;
    inputs.rows = rows;
    inputs.embeddings = embeddings.get();
    inputs.pastLength = past.get();
    inputs.keys = decoder.keys;
    inputs.values = decoder.values;
    inputs.crossKeys = withImage ? kCrossKeys : 0;
    inputs.crossBias = bias.get();
    inputs.crossAttentionRows = inputs.crossMlpRows = rowGates.get();
    inputs.logits = logits.get();
    return inputs;
  }

  Floats result(int rows) const {
    Floats all = as<float>(download(logits));
    all.resize(sizeOf(rows, kVocabulary));
    return all;
  }
};

Floats embeddingRows(int rows) { return asHalves(normal(sizeOf(rows, kHidden))); }

// Sums are f32, but what passes between kernels is rounded to halves, some 30 times.
constexpr double kAbsolute = 0.02, kRelative = 0.01;

} // namespace

TEST_CASE("decoder: a prompt with an image, then steps from one captured graph") {
  RandomDecoder decoder(false);
  StepInputs inputs;
  DecoderStep step(device(), stream(), decoder.model(), 16);
  const Floats prompt = embeddingRows(11);
  std::vector<int> seen(11, 30);
  seen[0] = seen[1] = 0; // before the image
  inputs.set(prompt, 0, seen);
  step.run(stream(), inputs.of(decoder, 11, true));
  CHECK_CLOSE(inputs.result(11), decoder.reference(prompt, 0, seen, true), kAbsolute, kRelative, "prompt");

  const DecoderInputs one = inputs.of(decoder, 1, true);
  std::unique_ptr<cuda::GraphExec> graph;
  for (int position = 11; position < 16; ++position) {
    const Floats row = embeddingRows(1);
    inputs.set(row, position, {30});
    if (position == 11)
      step.run(stream(), one);
    else
      device().launchGraph(*graph, stream());
    CHECK_CLOSE(inputs.result(1), decoder.reference(row, position, {30}, true), kAbsolute, kRelative, "position %d", position);
    if (position == 11)
      graph = device().capture(stream(), [&] { step.run(stream(), one); });
  }
}

TEST_CASE("decoder: drafts of several rows, of which two logits are wanted, with a 16-bit head") {
  RandomDecoder decoder(true);
  StepInputs inputs;
  DecoderStep step(device(), stream(), decoder.model(), 16);
  int past = 0;
  for (const int rows : {3, 8, 12}) {
    const Floats embeddings = embeddingRows(rows);
    const std::vector<int> seen(static_cast<std::size_t>(rows), 40);
    inputs.set(embeddings, past, seen);
    inputs.write(inputs.logitsRows, std::vector<std::int32_t>{rows - 1, 1});
    DecoderInputs wanted = inputs.of(decoder, rows, true);
    wanted.logitsRows = inputs.logitsRows.get();
    wanted.logitsCount = 2;
    step.run(stream(), wanted);
    const Floats all = decoder.reference(embeddings, past, seen, true);
    Floats expected;
    for (const int row : {rows - 1, 1})
      expected.insert(expected.end(), all.begin() + row * kVocabulary, all.begin() + (row + 1) * kVocabulary);
    CHECK_CLOSE(inputs.result(2), expected, kAbsolute, kRelative, "%d rows after %d", rows, past);
    past += rows;
  }
}

TEST_CASE("decoder: without an image the cross layers are left out") {
  RandomDecoder decoder(false);
  StepInputs inputs;
  DecoderStep step(device(), stream(), decoder.model(), 16);
  const Floats prompt = embeddingRows(4);
  inputs.set(prompt, 0, {0, 0, 0, 0});
  step.run(stream(), inputs.of(decoder, 4, false));
  CHECK_CLOSE(inputs.result(4), decoder.reference(prompt, 0, {0, 0, 0, 0}, false), kAbsolute, kRelative, "text");
}
