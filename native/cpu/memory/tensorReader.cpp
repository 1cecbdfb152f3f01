#include "cpu/memory/tensorReader.h"

#include "common/codedError.h"

#include <cmath>

namespace scenebus::cpu {
namespace {

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

const TensorSource* TensorReader::find(const std::string& name) const {
  const auto found = mTensors->find(name);
  return found == mTensors->end() ? nullptr : &found->second;
}

const TensorSource& TensorReader::require(const std::string& name) const {
  const auto* tensor = find(name);
  if (tensor == nullptr)
    throw CodedError("ERR_MODEL_INVALID", "tensor " + name + " is missing");
  return *tensor;
}

const std::uint8_t* TensorReader::bytesOf(const std::string& name, const TensorSource& tensor, bool typeIsRight,
                                          const std::vector<std::int64_t>& shape) {
  std::uint64_t count = 1;
  for (const auto side : shape)
    count *= static_cast<std::uint64_t>(side);
  if (!typeIsRight || tensor.shape != shape || tensor.sizeBytes != count * elementSizeBytes(tensor.type))
    throw CodedError("ERR_MODEL_INVALID", "tensor " + name + " has another type or shape than the architecture asks: " +
                                              shapeText(tensor.shape) + " instead of " + shapeText(shape));
  auto found = mFiles.find(tensor.file);
  if (found == mFiles.end())
    found = mFiles.emplace(tensor.file, MappedFile("the weights", tensor.file)).first;
  const auto& file = found->second;
  if (tensor.offsetBytes > file.sizeBytes() || tensor.sizeBytes > file.sizeBytes() - tensor.offsetBytes)
    throw CodedError("ERR_MODEL_INVALID",
                     "tensor " + name + " lies outside of " + tensor.file + ", which is too short");
  return file.data() + tensor.offsetBytes;
}

FloatMatrix TensorReader::floats(const std::string& name, const std::vector<std::int64_t>& shape, int columns) {
  const auto& tensor = require(name);
  const auto* data = bytesOf(name, tensor, isFloat(tensor.type), shape);
  std::int64_t count = 1;
  for (const auto side : shape)
    count *= side;
  return {data, scalarType(tensor.type), static_cast<int>(count / columns), columns};
}

std::vector<float> TensorReader::vectorOf(const std::string& name, int count) {
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

std::optional<PackSource> TensorReader::packed(const std::string& name, int rows, int columns) {
  const std::string packedName = name + ".weight_packed", scaleName = name + ".weight_scale";
  const auto* packed = find(packedName);
  if (packed == nullptr)
    return std::nullopt;
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
  return source;
}

} // namespace scenebus::cpu
