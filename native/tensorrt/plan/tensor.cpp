#include "tensorrt/plan/tensor.h"

#include "common/codedError.h"

namespace scenebus::tensorrt {
namespace {

struct TypeFacts {
  TensorType type;
  std::uint64_t bytes;
  const char* name;
};

constexpr TypeFacts kTypes[] = {
    {TensorType::kFloat32, 4, "float32"}, {TensorType::kFloat16, 2, "float16"}, {TensorType::kBfloat16, 2, "bfloat16"},
    {TensorType::kInt32, 4, "int32"},     {TensorType::kInt64, 8, "int64"},     {TensorType::kInt8, 1, "int8"},
    {TensorType::kUint8, 1, "uint8"},
};

const TypeFacts& factsOf(TensorType type) { return kTypes[static_cast<int>(type)]; }

} // namespace

std::uint64_t elementBytes(TensorType type) { return factsOf(type).bytes; }

const char* typeName(TensorType type) { return factsOf(type).name; }

std::optional<TensorType> typeNamed(std::string_view name) {
  for (const auto& facts : kTypes)
    if (name == facts.name)
      return facts.type;
  return std::nullopt;
}

std::string shapeText(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::uint64_t elementCount(const Shape& shape) {
  std::uint64_t count = 1;
  for (const auto side : shape) {
    if (side < 0)
      throw CodedError("ERR_ENGINE_FAILED", "the size of " + shapeText(shape) + " is not known");
    count *= static_cast<std::uint64_t>(side);
  }
  return count;
}

bool matches(const Shape& declared, const Shape& actual) {
  if (declared.size() != actual.size())
    return false;
  for (std::size_t i = 0; i < declared.size(); ++i)
    if (actual[i] < 0 || (declared[i] >= 0 && declared[i] != actual[i]))
      return false;
  return true;
}

} // namespace scenebus::tensorrt
