#pragma once
#include "common/codedError.h"
#include "tensorrt/nvinfer/headers.h"
#include "tensorrt/plan/tensor.h"

#include <string>

namespace scenebus::tensorrt {

inline TensorType tensorTypeOf(nvinfer1::DataType type, const std::string& tensor) {
  switch (type) {
  case nvinfer1::DataType::kFLOAT:
    return TensorType::kFloat32;
  case nvinfer1::DataType::kHALF:
    return TensorType::kFloat16;
  case nvinfer1::DataType::kBF16:
    return TensorType::kBfloat16;
  case nvinfer1::DataType::kINT32:
    return TensorType::kInt32;
  case nvinfer1::DataType::kINT64:
    return TensorType::kInt64;
  case nvinfer1::DataType::kINT8:
    return TensorType::kInt8;
  case nvinfer1::DataType::kUINT8:
    return TensorType::kUint8;
  default:
    throw CodedError("ERR_MODEL_INVALID", tensor + " has a type that does not cross a plan's border: " +
                                              std::to_string(static_cast<int>(type)));
  }
}

inline Shape shapeOf(const nvinfer1::Dims& dims) { return dims.nbDims < 0 ? Shape{-1} : Shape(dims.d, dims.d + dims.nbDims); }

inline nvinfer1::Dims dimsOf(const Shape& shape) {
  nvinfer1::Dims dims{};
  if (shape.size() > static_cast<std::size_t>(nvinfer1::Dims::MAX_DIMS))
    throw CodedError("ERR_MODEL_INVALID", "TensorRT takes at most " + std::to_string(nvinfer1::Dims::MAX_DIMS) +
                                              " dimensions but received " + shapeText(shape));
  dims.nbDims = static_cast<std::int32_t>(shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i)
    dims.d[i] = shape[i];
  return dims;
}

} // namespace scenebus::tensorrt
