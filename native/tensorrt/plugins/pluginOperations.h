#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/plan/tensor.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

/**
 * What the plugins do, apart from TensorRT's interfaces: operators of the domain `scenebus` (their meaning is in
 * sdk/graph/tensorrt/functions.ts) over the kernels. Shapes and types are checked when a plan is built and
 * once more when shapes are set; a step only launches.
 */
namespace scenebus::tensorrt {

struct PluginTensor {
  TensorType type = TensorType::kFloat16;
  Shape shape;
};

/** Attributes of a node by name. */
using PluginFields = std::map<std::string, std::int64_t>;

class PluginOperation {
 public:
  virtual ~PluginOperation() = default;
  virtual int inputCount() const = 0;
  virtual int outputCount() const = 0;
  /** Of the `index`-th tensor, outputs after inputs; `types` are those before it. */
  virtual bool takes(int index, TensorType type, const std::vector<TensorType>& types) const = 0;
  virtual TensorType outputType(int output, const std::vector<TensorType>& inputs) const = 0;
  /**
   * Where every side of an output comes from: `{input, dimension}`, or `{-1, value}` for a fixed side.
   */
  using Side = std::pair<int, std::int64_t>;
  virtual std::vector<Side> outputShape(int output) const = 0;
  /** The input that the output is written over; -1 for none. */
  virtual int aliasedInput(int) const { return -1; }
  /** Scratch for inputs of at most these shapes. */
  virtual std::size_t workspaceBytes(const cuda::DeviceInfo&, const std::vector<PluginTensor>&) const { return 0; }
  /** Empty when the inputs can be computed with; else what was expected. Of a side of -1 nothing is known yet. */
  virtual std::string problemWith(const std::vector<PluginTensor>& inputs) const = 0;
  /** Addresses of inputs and outputs; throws CudaError. */
  virtual void run(cuda::Device& device, cuda::Stream stream, const std::vector<PluginTensor>& inputs,
                   const void* const* in, void* const* out, void* workspace) const = 0;
};

/** Names of the operators and of the attributes of each. */
const std::map<std::string, std::vector<std::string>>& pluginAttributes();

/** @throws CodedError ERR_MODEL_INVALID for an unknown name, or a missing or impossible attribute */
std::unique_ptr<PluginOperation> makePluginOperation(const std::string& name, const PluginFields& fields);

} // namespace scenebus::tensorrt
