// Compiled instead of the rest of this folder where TensorRT's headers are not installed.
#include "common/codedError.h"
#include "tensorrt/nvinfer/openLibrary.h"

namespace scenebus::tensorrt {

Version headerVersion() { return {}; }

std::unique_ptr<InferenceLibrary> openNvinferLibrary(LoadedLibraries, cuda::Device&) {
  throw CodedError("ERR_NATIVE_UNAVAILABLE", "This addon was built without TensorRT's headers");
}

} // namespace scenebus::tensorrt
