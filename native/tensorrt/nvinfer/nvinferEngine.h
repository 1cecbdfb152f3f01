#pragma once
#include "tensorrt/nvinfer/messages.h"

#include <memory>

namespace scenebus::tensorrt {

class NvinferEngine final : public Engine {
 public:
  NvinferEngine(std::unique_ptr<nvinfer1::ICudaEngine> engine, Messages& messages);

  const std::vector<TensorInfo>& tensors() const override { return mTensors; }
  Shape maxShapeOf(const std::string& input) const override;
  std::uint64_t scratchBytes() const override;
  std::string layers() const override;
  std::unique_ptr<Context> createContext() override;

 private:
  std::unique_ptr<nvinfer1::ICudaEngine> mEngine;
  Messages& mMessages;
  std::vector<TensorInfo> mTensors;
};

} // namespace scenebus::tensorrt
