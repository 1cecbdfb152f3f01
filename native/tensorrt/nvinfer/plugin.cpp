#include "tensorrt/nvinfer/plugin.h"

#include "common/codedError.h"
#include "tensorrt/nvinfer/types.h"
#include "tensorrt/plugins/pluginOperations.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace scenebus::tensorrt {
namespace {

constexpr const char* kVersion = "1";

PluginTensor tensorOf(const nvinfer1::PluginTensorDesc& desc) {
  return {tensorTypeOf(desc.type, "a plugin's tensor"), shapeOf(desc.dims)};
}

/** One operator in a network, a plan, or an execution context; all three of TensorRT's interfaces. */
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuildV2,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  Plugin(std::string name, std::string nameSpace, PluginFields fields, cuda::Device& device, Messages& messages)
      : mName(std::move(name)), mNamespace(std::move(nameSpace)), mFields(std::move(fields)),
        mOperation(makePluginOperation(mName, mFields)), mDevice(device), mMessages(messages) {
    mSerialized.reserve(mFields.size()); // the fields below point into it
    for (const auto& [field, value] : mFields) {
      mSerialized.push_back(value);
      mFieldList.emplace_back(field.c_str(), &mSerialized.back(), nvinfer1::PluginFieldType::kINT64, 1);
    }
    mCollection = {static_cast<std::int32_t>(mFieldList.size()), mFieldList.data()};
  }

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuildV2*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  nvinfer1::IPluginV3* clone() noexcept override {
    try {
      auto copy = std::make_unique<Plugin>(mName, mNamespace, mFields, mDevice, mMessages);
      copy->mInputs = mInputs;
      return copy.release();
    } catch (const std::exception& error) {
      return complain<nvinfer1::IPluginV3*>(error.what(), nullptr);
    }
  }

  const char* getPluginName() const noexcept override { return mName.c_str(); }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return mNamespace.c_str(); }

  // Building.

  std::int32_t getNbOutputs() const noexcept override { return mOperation->outputCount(); }

  std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, std::int32_t inputs,
                               const nvinfer1::DynamicPluginTensorDesc*, std::int32_t) noexcept override {
    return guarded([&] {
      std::vector<PluginTensor> tensors;
      for (std::int32_t i = 0; i < inputs; ++i)
        tensors.push_back(tensorOf(in[i].desc));
      require(tensors);
    });
  }

  std::int32_t getOutputDataTypes(nvinfer1::DataType* types, std::int32_t outputs, const nvinfer1::DataType* inputTypes,
                                  std::int32_t inputs) const noexcept override {
    return guarded([&] {
      std::vector<TensorType> known;
      for (std::int32_t i = 0; i < inputs; ++i)
        known.push_back(tensorTypeOf(inputTypes[i], mName));
      for (std::int32_t i = 0; i < outputs; ++i)
        types[i] = dataTypeOf(mOperation->outputType(i, known));
    });
  }

  std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t inputCount, const nvinfer1::DimsExprs*,
                               std::int32_t, nvinfer1::DimsExprs* outputs, std::int32_t outputCount,
                               nvinfer1::IExprBuilder& expressions) noexcept override {
    return guarded([&] {
      for (std::int32_t i = 0; i < outputCount; ++i) {
        const auto sides = mOperation->outputShape(i);
        outputs[i].nbDims = static_cast<std::int32_t>(sides.size());
        for (std::size_t d = 0; d < sides.size(); ++d) {
          const auto [input, value] = sides[d];
          if (input >= inputCount || (input >= 0 && value >= inputs[input].nbDims))
            throw CodedError("ERR_MODEL_INVALID", mName + ": expected more dimensions of its inputs");
          outputs[i].d[d] = input < 0 ? expressions.constant(value) : inputs[input].d[value];
        }
      }
    });
  }

  bool supportsFormatCombination(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 std::int32_t inputs, std::int32_t outputs) noexcept override {
    if (inputs != mOperation->inputCount() || outputs != mOperation->outputCount())
      return false;
    try {
      std::vector<TensorType> before;
      for (std::int32_t i = 0; i < position; ++i)
        before.push_back(tensorTypeOf(tensors[i].desc.type, mName));
      const auto& desc = tensors[position].desc;
      return desc.format == nvinfer1::TensorFormat::kLINEAR &&
             mOperation->takes(position, tensorTypeOf(desc.type, mName), before);
    } catch (const std::exception&) {
      return false; // a type that no tensor of ours has
    }
  }

  std::size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* in, std::int32_t inputs,
                               const nvinfer1::DynamicPluginTensorDesc*, std::int32_t) const noexcept override {
    std::size_t bytes = 0;
    guarded([&] {
      std::vector<PluginTensor> largest;
      for (std::int32_t i = 0; i < inputs; ++i)
        largest.push_back({tensorTypeOf(in[i].desc.type, mName), shapeOf(in[i].max)});
      bytes = mOperation->workspaceBytes(mDevice.info(), largest);
    });
    return bytes;
  }

  std::int32_t getAliasedInput(std::int32_t output) noexcept override { return mOperation->aliasedInput(output); }

  // Running.

  std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, std::int32_t inputs,
                             const nvinfer1::PluginTensorDesc*, std::int32_t) noexcept override {
    return guarded([&] { takeShapes(in, inputs); });
  }

  std::int32_t enqueue(const nvinfer1::PluginTensorDesc* descriptions, const nvinfer1::PluginTensorDesc*,
                       const void* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override {
    return guarded([&] {
      takeShapes(descriptions, mOperation->inputCount());
      mOperation->run(mDevice, stream, mInputs, inputs, outputs, workspace);
    });
  }

  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &mCollection; }

 private:
  void require(const std::vector<PluginTensor>& inputs) const {
    if (const std::string problem = mOperation->problemWith(inputs); !problem.empty())
      throw CodedError("ERR_MODEL_INVALID", mName + ": " + problem);
  }

  void takeShapes(const nvinfer1::PluginTensorDesc* in, std::int32_t count) {
    std::vector<PluginTensor> inputs;
    for (std::int32_t i = 0; i < count; ++i)
      inputs.push_back(tensorOf(in[i]));
    require(inputs);
    mInputs = std::move(inputs);
  }

  static nvinfer1::DataType dataTypeOf(TensorType type) {
    return type == TensorType::kFloat32 ? nvinfer1::DataType::kFLOAT : nvinfer1::DataType::kHALF;
  }

  template <typename Result>
  Result complain(const char* message, Result result) const noexcept {
    mMessages.log(nvinfer1::ILogger::Severity::kERROR, message);
    return result;
  }

  /** Exceptions must not pass through TensorRT: the message goes to the log, from where a caller's exception has it. */
  template <typename Work>
  std::int32_t guarded(const Work& work) const noexcept {
    try {
      work();
      return 0;
    } catch (const std::exception& error) {
      return complain<std::int32_t>(error.what(), 1);
    }
  }

  std::string mName, mNamespace;
  PluginFields mFields;
  std::unique_ptr<PluginOperation> mOperation;
  cuda::Device& mDevice;
  Messages& mMessages;
  std::vector<PluginTensor> mInputs;
  std::vector<std::int64_t> mSerialized;
  std::vector<nvinfer1::PluginField> mFieldList;
  nvinfer1::PluginFieldCollection mCollection{};
};

class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  Creator(std::string name, const char* nameSpace, cuda::Device& device, Messages& messages)
      : mName(std::move(name)), mNamespace(nameSpace), mDevice(device), mMessages(messages) {
    for (const auto& field : pluginAttributes().at(mName))
      mFields.emplace_back(field.c_str(), nullptr, nvinfer1::PluginFieldType::kINT64, 1);
    mCollection = {static_cast<std::int32_t>(mFields.size()), mFields.data()};
  }

  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase) noexcept override {
    try {
      PluginFields values;
      for (std::int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i)
        if (const auto& field = fields->fields[i]; field.name != nullptr && field.data != nullptr && field.length >= 1) {
          // The parser gives a node's attributes in 32 or 64 bits, depending on its version.
          if (field.type == nvinfer1::PluginFieldType::kINT64)
            values[field.name] = *static_cast<const std::int64_t*>(field.data);
          else if (field.type == nvinfer1::PluginFieldType::kINT32)
            values[field.name] = *static_cast<const std::int32_t*>(field.data);
        }
      return new Plugin(mName, mNamespace, std::move(values), mDevice, mMessages);
    } catch (const std::exception& error) {
      mMessages.log(nvinfer1::ILogger::Severity::kERROR, error.what());
      return nullptr;
    }
  }

  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &mCollection; }
  const char* getPluginName() const noexcept override { return mName.c_str(); }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return mNamespace.c_str(); }

 private:
  std::string mName, mNamespace;
  cuda::Device& mDevice;
  Messages& mMessages;
  std::vector<nvinfer1::PluginField> mFields;
  nvinfer1::PluginFieldCollection mCollection{};
};

} // namespace

void registerPlugins(const LibrarySymbols& symbols, cuda::Device& device, Messages& messages) {
  auto* registry = static_cast<nvinfer1::IPluginRegistry*>(symbols.pluginRegistry());
  if (registry == nullptr)
    throw CodedError("ERR_ENGINE_INCOMPATIBLE", "TensorRT has no plugin registry");
  for (const auto& entry : pluginAttributes())
    for (const char* nameSpace : {"", "scenebus"}) {
      // The registry keeps a pointer until the process ends.
      auto creator = std::make_unique<Creator>(entry.first, nameSpace, device, messages);
      if (!registry->registerCreator(*creator, nameSpace))
        throw CodedError("ERR_ENGINE_INCOMPATIBLE", "TensorRT refuses the plugin " + entry.first + ":" + messages.take());
      static_cast<void>(creator.release());
    }
}

} // namespace scenebus::tensorrt
