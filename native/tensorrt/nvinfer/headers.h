#pragma once
#include <NvInfer.h>
#include <NvInferRuntime.h>
#include <NvInferVersion.h>
#include <NvOnnxParser.h>

#include "tensorrt/plan/inferenceLibrary.h"

/**
 * TensorRT's headers, and all that differs between the versions that we compile with. Within one major version newer
 * libraries keep the older interfaces and headers may be newer than the library; so what a header declares is used only
 * when the library that was found has it too.
 */
namespace scenebus::tensorrt {

constexpr int kHeaderVersion = NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;

/** The integer that the library's factories compare with their own major version. */
constexpr std::int32_t kVersionForFactories = kHeaderVersion;

/** `IStreamReaderV2` came with 10.7; `IStreamReader` went with 11. */
constexpr int kFirstWithReaderV2 = 10'07'00;
#define SCENEBUS_NVINFER_READER_V2 (NV_TENSORRT_MAJOR > 10 || NV_TENSORRT_MINOR >= 7)
#define SCENEBUS_NVINFER_READER_V1 (NV_TENSORRT_MAJOR == 10)

/** Types are those of the graph. Version 11 knows no other networks, and gave the flag another value. */
constexpr nvinfer1::NetworkDefinitionCreationFlags stronglyTyped() {
#if NV_TENSORRT_MAJOR == 10
  return 1U << static_cast<std::uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
  return 0;
#endif
}

} // namespace scenebus::tensorrt
