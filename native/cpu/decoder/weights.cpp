#include "cpu/decoder/weights.h"

#include "common/codedError.h"

#include <algorithm>
#include <cmath>

namespace scenebus::cpu {
namespace {

const std::string kModel = "language_model.model.";

} // namespace

/** Resolves names to pointers, and gathers what must be packed. */
struct DecoderWeights::Builder {
  TensorReader& reader;
  std::vector<PackSource> sources;
  /** The layers that wait for the packed matrix of the same index. */
  std::vector<Linear*> waiting;

  void linear(Linear& to, const std::string& name, int rows, int columns) {
    const auto packed = reader.packed(name, rows, columns);
    if (!packed) {
      to.stored = reader.matrix(name + ".weight", rows, columns);
      return;
    }
    to.isPacked = true;
    sources.push_back(*packed);
    waiting.push_back(&to);
  }
};

DecoderWeights::DecoderWeights(const DecoderSpec& spec, ThreadPool& pool, CancelFlag abort,
                               const ProgressFunction& progress)
    : mTensors(spec.tensors) {
  const auto& text = spec.text;
  const int hidden = text.hiddenSize, keyValueSize = text.keyValueHeads * text.headDim;
  const int querySize = text.attentionHeads * text.headDim;
  Builder builder{mTensors, {}, {}};
  layers.resize(static_cast<std::size_t>(text.layers));
  for (int i = 0; i < text.layers; ++i) {
    auto& layer = layers[static_cast<std::size_t>(i)];
    layer.isCross = std::find(text.crossAttentionLayers.begin(), text.crossAttentionLayers.end(), i) !=
                    text.crossAttentionLayers.end();
    const std::string prefix = kModel + "layers." + std::to_string(i) + ".";
    const std::string attention = prefix + (layer.isCross ? "cross_attn." : "self_attn.");
    layer.inputNorm = mTensors.vectorOf(prefix + "input_layernorm.weight", hidden);
    layer.postAttentionNorm = mTensors.vectorOf(prefix + "post_attention_layernorm.weight", hidden);
    builder.linear(layer.query, attention + "q_proj", querySize, hidden);
    builder.linear(layer.key, attention + "k_proj", keyValueSize, hidden);
    builder.linear(layer.value, attention + "v_proj", keyValueSize, hidden);
    builder.linear(layer.output, attention + "o_proj", hidden, querySize);
    builder.linear(layer.gate, prefix + "mlp.gate_proj", text.intermediateSize, hidden);
    builder.linear(layer.up, prefix + "mlp.up_proj", text.intermediateSize, hidden);
    builder.linear(layer.down, prefix + "mlp.down_proj", hidden, text.intermediateSize);
    if (layer.isCross) {
      layer.queryNorm = mTensors.vectorOf(attention + "q_norm.weight", text.headDim);
      layer.keyNorm = mTensors.vectorOf(attention + "k_norm.weight", text.headDim);
      layer.attentionGate = std::tanh(mTensors.vectorOf(prefix + "cross_attn_attn_gate", 1)[0]);
      layer.mlpGate = std::tanh(mTensors.vectorOf(prefix + "cross_attn_mlp_gate", 1)[0]);
    }
  }
  finalNorm = mTensors.vectorOf(kModel + "norm.weight", hidden);
  builder.linear(head, "language_model.lm_head", text.vocabularySize, hidden);
  embedding = mTensors.matrix(kModel + "embed_tokens.weight", text.embeddingRows, hidden);

  if (builder.sources.empty())
    return;
  mStore =
      std::make_unique<PackedStore>(spec.packedWeightsPath, spec.packedKey, builder.sources, pool, abort, progress);
  for (std::size_t i = 0; i < builder.waiting.size(); ++i)
    builder.waiting[i]->packed = mStore->matrices()[i];
}

std::uint64_t DecoderWeights::linearSizeBytes() const {
  std::uint64_t total = 0;
  const auto add = [&](const Linear& linear) {
    total += linear.isPacked ? packedDataBytes(linear.packed)
                             : static_cast<std::uint64_t>(linear.stored.rows) * linear.stored.columns *
                                   scalarSizeBytes(linear.stored.type);
  };
  for (const auto& layer : layers) {
    for (const auto* linear : {&layer.query, &layer.output, &layer.gate, &layer.up, &layer.down})
      add(*linear);
    if (!layer.isCross) {
      add(layer.key);
      add(layer.value);
    }
  }
  add(head);
  return total;
}

} // namespace scenebus::cpu
