#include "cpu/decoder/weights.h"

#include "common/codedError.h"

#include <algorithm>
#include <cmath>

namespace scenebus::cpu {
namespace {

const std::string kModel = "language_model.model.";

std::string shapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::uint64_t elementSizeBytes(TensorType type) {
  switch (type) {
  case TensorType::kF32:
  case TensorType::kI32:
    return 4;
  case TensorType::kF16:
  case TensorType::kBf16:
    return 2;
  case TensorType::kI8:
    return 1;
  default:
    return 0;
  }
}

bool isFloat(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBf16;
}

ScalarType scalarType(TensorType type) {
  return type == TensorType::kF32 ? ScalarType::kF32 : type == TensorType::kF16 ? ScalarType::kF16 : ScalarType::kBf16;
}

} // namespace

/** Resolves names to pointers, and gathers what must be packed. */
struct DecoderWeights::Builder {
  const DecoderSpec& spec;
  std::map<std::string, MappedFile>& files;
  std::vector<PackSource> sources;
  /** The layers that wait for the packed matrix of the same index. */
  std::vector<Linear*> waiting;

  const TensorSource* find(const std::string& name) const {
    const auto found = spec.tensors.find(name);
    return found == spec.tensors.end() ? nullptr : &found->second;
  }

  const TensorSource& require(const std::string& name) const {
    const auto* tensor = find(name);
    if (tensor == nullptr)
      throw CodedError("ERR_MODEL_INVALID", "tensor " + name + " is missing");
    return *tensor;
  }

  /** Checks type, shape and file range, and returns the first byte. */
  const std::uint8_t* bytesOf(const std::string& name, const TensorSource& tensor, bool typeIsRight,
                              const std::vector<std::int64_t>& shape) {
    std::uint64_t count = 1;
    for (const auto side : shape)
      count *= static_cast<std::uint64_t>(side);
    if (!typeIsRight || tensor.shape != shape || tensor.sizeBytes != count * elementSizeBytes(tensor.type))
      throw CodedError("ERR_MODEL_INVALID", "tensor " + name +
                                                " has another type or shape than the architecture asks: " +
                                                shapeText(tensor.shape) + " instead of " + shapeText(shape));
    auto found = files.find(tensor.file);
    if (found == files.end())
      found = files.emplace(tensor.file, MappedFile("the weights", tensor.file)).first;
    const auto& file = found->second;
    if (tensor.offsetBytes > file.sizeBytes() || tensor.sizeBytes > file.sizeBytes() - tensor.offsetBytes)
      throw CodedError("ERR_MODEL_INVALID",
                       "tensor " + name + " lies outside of " + tensor.file + ", which is too short");
    return file.data() + tensor.offsetBytes;
  }

  FloatMatrix matrix(const std::string& name, int rows, int columns) {
    const auto& tensor = require(name);
    const auto* data = bytesOf(name, tensor, isFloat(tensor.type), {rows, columns});
    return {data, scalarType(tensor.type), rows, columns};
  }

  std::vector<float> vectorOf(const std::string& name, int count) {
    const auto& tensor = require(name);
    const auto* data = bytesOf(name, tensor, isFloat(tensor.type), {count});
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = readScalar(data, scalarType(tensor.type), i);
      if (!std::isfinite(values[i]))
        throw CodedError("ERR_MODEL_INVALID", "tensor " + name + " holds NaN or infinity; copy the checkpoint again");
    }
    return values;
  }

  void linear(Linear& to, const std::string& name, int rows, int columns) {
    const std::string packedName = name + ".weight_packed", scaleName = name + ".weight_scale";
    const auto* packed = find(packedName);
    if (packed == nullptr) {
      to.stored = matrix(name + ".weight", rows, columns);
      return;
    }
    const auto& scale = require(scaleName);
    // The shapes say how many bits a weight has and how many inputs share a scale.
    const bool isInt8 = packed->shape == std::vector<std::int64_t>{rows, columns / 4};
    const std::int64_t groups = scale.shape.size() == 2 ? scale.shape[1] : 0;
    PackSource source;
    source.kind = isInt8 ? PackSource::Kind::kInt8 : PackSource::Kind::kInt4;
    source.rows = rows;
    source.columns = columns;
    source.groupSize = groups > 0 && columns % groups == 0 ? static_cast<int>(columns / groups) : 0;
    packedShape(source); // refuses sizes that do not divide
    source.values = bytesOf(packedName, *packed, packed->type == TensorType::kI32, {rows, columns / (isInt8 ? 4 : 8)});
    source.scales = {bytesOf(scaleName, scale, isFloat(scale.type), {rows, groups}), scalarType(scale.type)};
    to.isPacked = true;
    sources.push_back(source);
    waiting.push_back(&to);
  }
};

DecoderWeights::DecoderWeights(const DecoderSpec& spec, ThreadPool& pool, CancelFlag abort,
                               const ProgressFunction& progress) {
  const auto& text = spec.text;
  const int hidden = text.hiddenSize, keyValueSize = text.keyValueHeads * text.headDim;
  const int querySize = text.attentionHeads * text.headDim;
  Builder builder{spec, mFiles, {}, {}};
  layers.resize(static_cast<std::size_t>(text.layers));
  for (int i = 0; i < text.layers; ++i) {
    auto& layer = layers[static_cast<std::size_t>(i)];
    layer.isCross = std::find(text.crossAttentionLayers.begin(), text.crossAttentionLayers.end(), i) !=
                    text.crossAttentionLayers.end();
    const std::string prefix = kModel + "layers." + std::to_string(i) + ".";
    const std::string attention = prefix + (layer.isCross ? "cross_attn." : "self_attn.");
    layer.inputNorm = builder.vectorOf(prefix + "input_layernorm.weight", hidden);
    layer.postAttentionNorm = builder.vectorOf(prefix + "post_attention_layernorm.weight", hidden);
    builder.linear(layer.query, attention + "q_proj", querySize, hidden);
    builder.linear(layer.key, attention + "k_proj", keyValueSize, hidden);
    builder.linear(layer.value, attention + "v_proj", keyValueSize, hidden);
    builder.linear(layer.output, attention + "o_proj", hidden, querySize);
    builder.linear(layer.gate, prefix + "mlp.gate_proj", text.intermediateSize, hidden);
    builder.linear(layer.up, prefix + "mlp.up_proj", text.intermediateSize, hidden);
    builder.linear(layer.down, prefix + "mlp.down_proj", hidden, text.intermediateSize);
    if (layer.isCross) {
      layer.queryNorm = builder.vectorOf(attention + "q_norm.weight", text.headDim);
      layer.keyNorm = builder.vectorOf(attention + "k_norm.weight", text.headDim);
      layer.attentionGate = std::tanh(builder.vectorOf(prefix + "cross_attn_attn_gate", 1)[0]);
      layer.mlpGate = std::tanh(builder.vectorOf(prefix + "cross_attn_mlp_gate", 1)[0]);
    }
  }
  finalNorm = builder.vectorOf(kModel + "norm.weight", hidden);
  builder.linear(head, "language_model.lm_head", text.vocabularySize, hidden);
  embedding = builder.matrix(kModel + "embed_tokens.weight", text.embeddingRows, hidden);

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
