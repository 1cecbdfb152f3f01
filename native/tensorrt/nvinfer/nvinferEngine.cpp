#include "tensorrt/nvinfer/nvinferEngine.h"

#include "common/codedError.h"
#include "tensorrt/nvinfer/types.h"

#include <algorithm>

namespace scenebus::tensorrt {
namespace {

class NvinferContext final : public Context {
 public:
  NvinferContext(std::unique_ptr<nvinfer1::IExecutionContext> context, Messages& messages)
      : mContext(std::move(context)), mMessages(messages) {}

  void setShape(const std::string& input, const Shape& shape) override {
    if (!mContext->setInputShape(input.c_str(), dimsOf(shape)))
      fail("TensorRT refuses the shape " + shapeText(shape) + " of " + input);
  }

  Shape shapeOf(const std::string& tensor) override {
    const Shape shape = tensorrt::shapeOf(mContext->getTensorShape(tensor.c_str()));
    for (const auto side : shape)
      if (side < 0)
        fail("TensorRT does not know the shape of " + tensor);
    return shape;
  }

  void setAddress(const std::string& tensor, cuda::DevicePointer address) override {
    if (!mContext->setTensorAddress(tensor.c_str(), reinterpret_cast<void*>(address)))
      fail("TensorRT refuses the address of " + tensor);
  }

  void setScratch(cuda::DevicePointer address, std::uint64_t sizeBytes) override {
    mContext->setDeviceMemoryV2(reinterpret_cast<void*>(address), static_cast<std::int64_t>(sizeBytes));
  }

  void enqueue(cuda::Stream stream) override {
    if (!mContext->enqueueV3(static_cast<cudaStream_t>(stream)))
      fail("TensorRT could not run a step");
  }

 private:
  [[noreturn]] void fail(const std::string& what) {
    const std::string reasons = mMessages.take();
    throw CodedError(speaksOfMemory(reasons) ? "ERR_ENGINE_OUT_OF_MEMORY" : "ERR_ENGINE_FAILED", what + ":" + reasons);
  }

  std::unique_ptr<nvinfer1::IExecutionContext> mContext;
  Messages& mMessages;
};

} // namespace

NvinferEngine::NvinferEngine(std::unique_ptr<nvinfer1::ICudaEngine> engine, Messages& messages)
    : mEngine(std::move(engine)), mMessages(messages) {
  for (std::int32_t i = 0; i < mEngine->getNbIOTensors(); ++i) {
    const char* name = mEngine->getIOTensorName(i);
    TensorInfo info;
    info.name = name;
    info.type = tensorTypeOf(mEngine->getTensorDataType(name), info.name);
    info.shape = tensorrt::shapeOf(mEngine->getTensorShape(name));
    info.isInput = mEngine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    info.isOnHost = mEngine->getTensorLocation(name) == nvinfer1::TensorLocation::kHOST;
    if (mEngine->getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR)
      throw CodedError("ERR_ENGINE_INCOMPATIBLE", info.name + " of the plan is not laid out row by row");
    mTensors.push_back(std::move(info));
  }
}

Shape NvinferEngine::maxShapeOf(const std::string& input) const {
  const auto found =
      std::find_if(mTensors.begin(), mTensors.end(), [&](const TensorInfo& info) { return info.name == input; });
  const bool varies = found != mTensors.end() && std::any_of(found->shape.begin(), found->shape.end(),
                                                             [](std::int64_t side) { return side < 0; });
  if (found == mTensors.end() || !found->isInput)
    return {};
  return varies ? tensorrt::shapeOf(mEngine->getProfileShape(input.c_str(), 0, nvinfer1::OptProfileSelector::kMAX))
                : found->shape;
}

std::uint64_t NvinferEngine::scratchBytes() const {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, mEngine->getDeviceMemorySizeV2()));
}

std::string NvinferEngine::layers() const {
  const std::unique_ptr<nvinfer1::IEngineInspector> inspector(mEngine->createEngineInspector());
  const char* text =
      inspector ? inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON) : nullptr;
  return text == nullptr ? "" : text;
}

std::unique_ptr<Context> NvinferEngine::createContext() {
  mMessages.clear();
  std::unique_ptr<nvinfer1::IExecutionContext> context(
      mEngine->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
  if (!context) {
    const std::string reasons = mMessages.take();
    throw CodedError(speaksOfMemory(reasons) ? "ERR_ENGINE_OUT_OF_MEMORY" : "ERR_ENGINE_FAILED",
                     "TensorRT could not make an execution context:" + reasons);
  }
  return std::make_unique<NvinferContext>(std::move(context), mMessages);
}

} // namespace scenebus::tensorrt
