#include "cpu/decoder/rope.h"
#include "tests/gpu/kernels/kernelTest.h"
#include "gpu/kernels/decoderStep/decoderStep.h"

#include <algorithm>
#include <list>
#include <numeric>
#include <string>

using namespace scenebus;
using namespace scenebus::test;
using namespace scenebus::kernels;

namespace {

/** The tiny model of test/support/synthetic-checkpoint.ts, whose values come from names: FNV-1a seeds mulberry32. */
constexpr int kHidden = 64, kLayers = 10, kIntermediate = 96, kVocabulary = 300, kCapacity = 32;
constexpr HeadShape kHeads{4, 2, 16};

Floats syntheticValues(const std::string& name, std::size_t count) {
  std::uint32_t state = 2166136261u;
  for (const char c : name)
    state = (state ^ static_cast<unsigned char>(c)) * 16777619u;
  const bool isNorm = name.find("norm") != std::string::npos;
  Floats values;
  for (std::size_t i = 0; i < count; ++i) {
    state += 0x6d2b79f5u;
    std::uint32_t t = (state ^ state >> 15) * (1u | state);
    t = (t + (t ^ t >> 7) * (61u | t)) ^ t;
    const double z = 2.0 * ((t ^ t >> 14) / 4294967296.0) - 1;
    values.push_back(static_cast<float>(isNorm ? 1 + 0.1 * z : 0.25 * z));
  }
  return values;
}

class SyntheticDecoder {
 public:
  SyntheticDecoder() {
    for (int i = 0; i < kLayers; ++i) {
      const std::string name = "language_model.model.layers." + std::to_string(i) + ".";
      DecoderLayer layer;
      layer.isCross = i == 3 || i == 8; // left out: there is no image
      layer.inputNorm = vector(name + "input_layernorm.weight");
      layer.postAttentionNorm = vector(name + "post_attention_layernorm.weight");
      layer.query = linear(name + "self_attn.q_proj.weight", 64, kHidden);
      layer.key = linear(name + "self_attn.k_proj.weight", 32, kHidden);
      layer.value = linear(name + "self_attn.v_proj.weight", 32, kHidden);
      layer.output = linear(name + "self_attn.o_proj.weight", kHidden, 64);
      layer.gate = linear(name + "mlp.gate_proj.weight", kIntermediate, kHidden);
      layer.up = linear(name + "mlp.up_proj.weight", kIntermediate, kHidden);
      layer.down = linear(name + "mlp.down_proj.weight", kHidden, kIntermediate);
      model.layers.push_back(layer);
      keys.push_back(keep(upload(Halves(2 * kCapacity * 16))));
      values.push_back(keep(upload(Halves(2 * kCapacity * 16))));
    }
    model.finalNorm = vector("language_model.model.norm.weight");
    model.head = linear("language_model.lm_head.weight", kVocabulary, kHidden);
    model.heads = kHeads;
    model.hidden = kHidden;
    model.intermediate = kIntermediate;
    model.vocabulary = kVocabulary;
    model.capacity = kCapacity;
    Floats cosines, sines;
    const auto frequencies = cpu::ropeFrequencies(16, 500000, cpu::RopeScaling{8, 1, 4, 8192});
    for (int position = 0; position < kCapacity; ++position)
      for (const double frequency : frequencies) {
        cosines.push_back(static_cast<float>(std::cos(position * frequency)));
        sines.push_back(static_cast<float>(std::sin(position * frequency)));
      }
    model.cosines = keep(upload(cosines));
    model.sines = keep(upload(sines));
  }

  /** Logits of the last of `ids`, at positions from `past` on. */
  Floats lastLogits(DecoderStep& step, const std::vector<int>& ids, int past) {
    const Floats table = syntheticValues("language_model.model.embed_tokens.weight", 308 * kHidden);
    Floats rows;
    for (const int id : ids)
      rows.insert(rows.end(), table.begin() + id * kHidden, table.begin() + (id + 1) * kHidden);
    const auto embeddings = upload(toHalves(rows));
    const auto pastLength = upload(std::vector<std::int32_t>{past});
    const auto last = upload(std::vector<std::int32_t>{static_cast<std::int32_t>(ids.size()) - 1});
    cuda::DeviceBuffer logits(device(), kVocabulary * 4);
    DecoderInputs inputs;
    inputs.rows = static_cast<int>(ids.size());
    inputs.embeddings = embeddings.get();
    inputs.pastLength = pastLength.get();
    inputs.keys = keys;
    inputs.values = values;
    inputs.logitsRows = last.get();
    inputs.logitsCount = 1;
    inputs.logits = logits.get();
    step.run(stream(), inputs);
    return as<float>(download(logits));
  }

  DecoderModel model;
  std::vector<cuda::DevicePointer> keys, values;

 private:
  cuda::DevicePointer keep(cuda::DeviceBuffer buffer) {
    mBuffers.push_back(std::move(buffer));
    return mBuffers.back().get();
  }
  cuda::DevicePointer vector(const std::string& name) { return keep(upload(toHalves(syntheticValues(name, kHidden)))); }
  DecoderLinear linear(const std::string& name, int outputs, int inputs) {
    DecoderLinear result;
    result.shape.outputs = outputs;
    result.shape.inputs = inputs;
    result.half = keep(upload(toHalves(syntheticValues(name, static_cast<std::size_t>(outputs) * static_cast<std::size_t>(inputs)))));
    return result;
  }

  std::list<cuda::DeviceBuffer> mBuffers;
};

} // namespace

TEST_CASE("decoder: the tiny model's published logits, in one pass and token by token") {
  CHECK(std::fabs(syntheticValues("language_model.model.layers.3.cross_attn.q_norm.weight", 1)[0] - 0.9953177f) < 1e-6f);
  SyntheticDecoder decoder;
  DecoderStep step(device(), stream(), decoder.model, 16);
  const std::vector<int> ids{0, 17, 42, 101, 7};
  // In float64 by the reference implementation (the golden case without an image).
  const Floats expected{-1.763330f, -1.489353f, 1.171056f, -1.381509f, 1.286901f, 0.833744f};
  for (const bool oneByOne : {false, true}) {
    Floats logits;
    if (oneByOne)
      for (std::size_t i = 0; i < ids.size(); ++i)
        logits = decoder.lastLogits(step, {ids[i]}, static_cast<int>(i));
    else
      logits = decoder.lastLogits(step, ids, 0);
    CHECK(std::max_element(logits.begin(), logits.end()) - logits.begin() == 104);
    // Weights and what passes between kernels are halves.
    CHECK_MESSAGE(std::fabs(std::accumulate(logits.begin(), logits.end(), 0.0) - -21.385374) < 0.3, "%g",
                  std::accumulate(logits.begin(), logits.end(), 0.0));
    logits.resize(6);
    CHECK_CLOSE(logits, expected, 0.01, 0.005, "one by one: %d", oneByOne ? 1 : 0);
  }
}
