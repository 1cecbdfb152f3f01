#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace scenebus::tensorrt {

/** Types of the tensors that cross a plan's border. */
enum class TensorType { kFloat32, kFloat16, kBfloat16, kInt32, kInt64, kInt8, kUint8 };

/** -1 is a dimension that the call decides. */
using Shape = std::vector<std::int64_t>;

std::uint64_t elementBytes(TensorType type);
const char* typeName(TensorType type);
std::optional<TensorType> typeNamed(std::string_view name);

/** `[1, 8, -1]` */
std::string shapeText(const Shape& shape);

/** Number of elements; every dimension must be known and not negative. */
std::uint64_t elementCount(const Shape& shape);

/** Whether `actual` has the rank of `declared` and its fixed dimensions. */
bool matches(const Shape& declared, const Shape& actual);

} // namespace scenebus::tensorrt
