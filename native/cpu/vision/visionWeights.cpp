#include "cpu/vision/visionWeights.h"

#include "common/codedError.h"

#include <cmath>

namespace scenebus::cpu {
namespace {

const std::string kTower = "vision_model.";

void requireFinite(const std::string& name, const FloatMatrix& matrix) {
  const std::size_t count = static_cast<std::size_t>(matrix.rows) * matrix.columns;
  for (std::size_t i = 0; i < count; ++i)
    if (!std::isfinite(readScalar(matrix.data, matrix.type, i)))
      throw CodedError("ERR_MODEL_INVALID", "tensor " + name + " holds NaN or infinity; copy the checkpoint again");
}

/** Inputs of the projector that share a scale. */
int projectorGroup(int columns) {
  return columns % 128 == 0 ? 128 : columns % 64 == 0 ? 64 : kBlockColumns;
}

} // namespace

VisionWeights::VisionWeights(const VisionSpec& spec, int levels, ThreadPool& pool, CancelFlag abort,
                             const ProgressFunction& progress)
    : mTensors(spec.tensors) {
  const auto& vision = spec.vision;
  const int hidden = vision.hiddenSize, patch = vision.patchSize, tiles = vision.maxNumTiles;
  const int ids = vision.aspectRatios + 1;
  const auto gate = [&](const std::string& name) { return std::tanh(mTensors.vectorOf(name, 1)[0]); };

  const auto finite = [&](const std::string& name, const std::vector<std::int64_t>& shape, int columns) {
    const FloatMatrix matrix = mTensors.floats(name, shape, columns);
    requireFinite(name, matrix);
    return matrix;
  };

  patchEmbedding = finite(kTower + "patch_embedding.weight", {hidden, 3, patch, patch}, vision.patchColumns());
  classEmbedding = mTensors.vectorOf(kTower + "class_embedding", hidden);
  preNorm = mTensors.vectorOf(kTower + "layernorm_pre.weight", hidden);
  preNormBias = mTensors.vectorOf(kTower + "layernorm_pre.bias", hidden);
  postNorm = mTensors.vectorOf(kTower + "layernorm_post.weight", hidden);
  postNormBias = mTensors.vectorOf(kTower + "layernorm_post.bias", hidden);
  const int tileColumns = tiles * hidden;
  preTile = finite(kTower + "pre_tile_positional_embedding.embedding.weight", {ids, tileColumns}, tileColumns);
  preTileGate = gate(kTower + "pre_tile_positional_embedding.gate");
  postTile = finite(kTower + "post_tile_positional_embedding.embedding.weight", {ids, tileColumns}, tileColumns);
  postTileGate = gate(kTower + "post_tile_positional_embedding.gate");
  const std::string positional = kTower + "gated_positional_embedding.";
  positions = finite(positional + "embedding", {vision.tokensPerTile(), hidden}, hidden);
  tilePositions = mTensors.matrix(positional + "tile_embedding.weight", ids, tileColumns * vision.tokensPerTile());
  positionGate = gate(positional + "gate");

  std::vector<PackSource> sources;
  std::vector<PackedMatrix*> waiting;
  const auto linear = [&](PackedMatrix& to, const std::string& name, int rows, int columns, bool grouped) {
    PackSource source;
    if (const auto packed = mTensors.packed(name, rows, columns)) {
      source = *packed;
      if (source.kind != PackSource::Kind::kInt8 || (!grouped && source.groupSize != columns))
        throw CodedError("ERR_MODEL_UNSUPPORTED", "expected " + name +
                                                      " in 8 bits with one scale for each output, or as floats; "
                                                      "quantise the model again");
    } else {
      const FloatMatrix stored = mTensors.matrix(name + ".weight", rows, columns);
      source.kind = PackSource::Kind::kFloat;
      source.values = stored.data;
      source.valueType = stored.type;
      source.rows = rows;
      source.columns = columns;
      source.groupSize = grouped ? projectorGroup(columns) : columns;
    }
    source.levels = grouped ? 127 : levels;
    sources.push_back(source);
    waiting.push_back(&to);
  };

  layers.resize(static_cast<std::size_t>(vision.localLayers + vision.globalLayers));
  for (int i = 0; i < static_cast<int>(layers.size()); ++i) {
    auto& layer = layers[static_cast<std::size_t>(i)];
    const bool isGlobal = i >= vision.localLayers;
    const std::string prefix = kTower +
                               (isGlobal ? "global_transformer.layers." + std::to_string(i - vision.localLayers)
                                         : "transformer.layers." + std::to_string(i)) +
                               ".";
    layer.inputNorm = mTensors.vectorOf(prefix + "input_layernorm.weight", hidden);
    layer.inputNormBias = mTensors.vectorOf(prefix + "input_layernorm.bias", hidden);
    layer.postAttentionNorm = mTensors.vectorOf(prefix + "post_attention_layernorm.weight", hidden);
    layer.postAttentionNormBias = mTensors.vectorOf(prefix + "post_attention_layernorm.bias", hidden);
    linear(layer.query, prefix + "self_attn.q_proj", hidden, hidden, false);
    linear(layer.key, prefix + "self_attn.k_proj", hidden, hidden, false);
    linear(layer.value, prefix + "self_attn.v_proj", hidden, hidden, false);
    linear(layer.output, prefix + "self_attn.o_proj", hidden, hidden, false);
    linear(layer.fc1, prefix + "mlp.fc1", vision.intermediateSize, hidden, false);
    linear(layer.fc2, prefix + "mlp.fc2", hidden, vision.intermediateSize, false);
    layer.fc1Bias = mTensors.vectorOf(prefix + "mlp.fc1.bias", vision.intermediateSize);
    layer.fc2Bias = mTensors.vectorOf(prefix + "mlp.fc2.bias", hidden);
    if (isGlobal) {
      layer.attentionGate = gate(prefix + "gate_attn");
      layer.mlpGate = gate(prefix + "gate_ffn");
    }
  }
  linear(projector, "multi_modal_projector", vision.textHiddenSize, vision.featureSize(), true);
  projectorBias = mTensors.vectorOf("multi_modal_projector.bias", vision.textHiddenSize);

  // Sets whose products take fewer levels than others have a file of their own.
  const std::string key = spec.packedKey + ", levels " + std::to_string(levels);
  mStore = std::make_unique<PackedStore>(spec.packedWeightsPath, key, sources, pool, abort, progress);
  for (std::size_t i = 0; i < waiting.size(); ++i)
    *waiting[i] = mStore->matrices()[i];
}

} // namespace scenebus::cpu
