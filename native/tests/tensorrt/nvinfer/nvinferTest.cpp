// The layer over TensorRT's headers, as far as it goes without the library: only compiled where the headers are.
#include "tests/gpu/emulation/emulatedDevice.h"
#include "tests/support/checks.h"
#include "tensorrt/runtime/deviceMemory.h"
#include "tensorrt/nvinfer/messages.h"
#include "tensorrt/nvinfer/openLibrary.h"
#include "tensorrt/nvinfer/planReader.h"
#include "tensorrt/nvinfer/plugin.h"
#include "tensorrt/runtime/runtime.h"
#include "tests/tensorrt/support/testFolder.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>

using namespace scenebus;
using namespace scenebus::tensorrt;
using namespace scenebus::test;

namespace {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // the registry's older half has to be there

/** Keeps what is registered, as TensorRT's does. */
struct Registry final : nvinfer1::IPluginRegistry {
  using Creator = nvinfer1::IPluginCreatorInterface;
  std::map<std::pair<std::string, std::string>, Creator*> creators;
  bool refuses = false;

  bool registerCreator(Creator& creator, const char* nameSpace) noexcept override {
    auto& known = static_cast<nvinfer1::IPluginCreatorV3One&>(creator);
    if (!refuses)
      creators[{nameSpace, known.getPluginName()}] = &creator;
    return !refuses;
  }
  nvinfer1::IPluginCreatorV3One& find(const char* nameSpace, const char* name) {
    return static_cast<nvinfer1::IPluginCreatorV3One&>(*creators.at({nameSpace, name}));
  }

  void setErrorRecorder(nvinfer1::IErrorRecorder*) noexcept override {}
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool) override {}
  PluginLibraryHandle loadLibrary(const char*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  Creator* const* getAllCreators(std::int32_t*) const noexcept override { return nullptr; }
  Creator* getCreator(const char*, const char*, const char*) noexcept override { return nullptr; }
  bool deregisterCreator(const Creator&) noexcept override { return false; }
  nvinfer1::IPluginResource* acquirePluginResource(const char*, nvinfer1::IPluginResource*) noexcept override {
    return nullptr;
  }
  std::int32_t releasePluginResource(const char*) noexcept override { return 0; }
  virtual Creator* const* getAllCreatorsRecursive(std::int32_t*) noexcept { return nullptr; } // from 10.7 on
#if NV_TENSORRT_MAJOR == 10
  bool registerCreator(nvinfer1::IPluginCreator&, const char*) noexcept override { return false; }
  nvinfer1::IPluginCreator* const* getPluginCreatorList(std::int32_t*) const noexcept override { return nullptr; }
  nvinfer1::IPluginCreator* getPluginCreator(const char*, const char*, const char*) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const nvinfer1::IPluginCreator&) noexcept override { return false; }
#endif
};

#pragma GCC diagnostic pop

Registry& registry() {
  static Registry one;
  return one;
}

struct Plugins {
  emulation::EmulatedDevice device;
  Messages messages;
  LibrarySymbols symbols;

  Plugins() {
    registry().creators.clear();
    registry().refuses = false;
    symbols.pluginRegistry = []() -> void* { return static_cast<nvinfer1::IPluginRegistry*>(&registry()); };
    registerPlugins(symbols, device, messages);
  }
  ~Plugins() {
    for (const auto& entry : registry().creators)
      delete static_cast<nvinfer1::IPluginCreatorV3One*>(entry.second);
  }

  /** As a parser does: attributes in 32 bits. */
  std::unique_ptr<nvinfer1::IPluginV3> make(const char* name, const std::map<std::string, std::int32_t>& attributes) {
    std::vector<nvinfer1::PluginField> fields;
    for (const auto& [field, value] : attributes)
      fields.emplace_back(field.c_str(), &value, nvinfer1::PluginFieldType::kINT32, 1);
    const nvinfer1::PluginFieldCollection collection{static_cast<std::int32_t>(fields.size()), fields.data()};
    return std::unique_ptr<nvinfer1::IPluginV3>(
        registry().find("", name).createPlugin("node", &collection, nvinfer1::TensorRTPhase::kBUILD));
  }
};

template <typename T>
T& capability(nvinfer1::IPluginV3& plugin, nvinfer1::PluginCapabilityType type) {
  return *static_cast<T*>(plugin.getCapabilityInterface(type));
}

nvinfer1::PluginTensorDesc desc(nvinfer1::DataType type, std::initializer_list<std::int64_t> sides) {
  nvinfer1::PluginTensorDesc result{};
  result.type = type;
  result.format = nvinfer1::TensorFormat::kLINEAR;
  for (const auto side : sides)
    result.dims.d[result.dims.nbDims++] = side;
  return result;
}

struct TextSource final : PlanSource {
  std::string text = "0123456789";
  std::size_t at = 0;
  std::uint64_t sizeBytes() const override { return text.size(); }
  std::size_t read(void* to, std::size_t bytes) override {
    const std::size_t got = std::min(bytes, text.size() - at);
    std::memcpy(to, text.data() + at, got);
    at += got;
    return got;
  }
  bool seek(std::uint64_t position) override {
    at = static_cast<std::size_t>(std::min<std::uint64_t>(position, text.size()));
    return position <= text.size();
  }
  std::uint64_t position() const override { return at; }
};

} // namespace

TEST_CASE("nvinfer: plugins are registered under both namespaces") {
  Plugins plugins;
  CHECK(registry().creators.size() == 6);
  for (const char* name : {"Int4MatMul", "KvAttention", "CrossAttention"})
    for (const char* nameSpace : {"", "scenebus"}) {
      CHECK(std::string(registry().find(nameSpace, name).getPluginVersion()) == "1");
      CHECK(std::string(registry().find(nameSpace, name).getPluginNamespace()) == nameSpace);
    }
  Registry& refusing = registry();
  refusing.refuses = true;
  CHECK(contains(failureOf([&] { registerPlugins(plugins.symbols, plugins.device, plugins.messages); }),
                 "ERR_ENGINE_INCOMPATIBLE"));
}

TEST_CASE("nvinfer: a plugin is the same after a plan was written and read") {
  Plugins plugins;
  const auto made = plugins.make("KvAttention", {{"heads", 4}, {"kvHeads", 2}, {"headDim", 64}, {"capacity", 16}});
  CHECK(made != nullptr);
  using nvinfer1::PluginCapabilityType;
  auto& build = capability<nvinfer1::IPluginV3OneBuildV2>(*made, PluginCapabilityType::kBUILD);
  CHECK(build.getNbOutputs() == 3);
  CHECK(build.getAliasedInput(0) == -1 && build.getAliasedInput(1) == 3 && build.getAliasedInput(2) == 4);
  CHECK(std::string(build.getInterfaceInfo().kind) == "PLUGIN_V3ONE_BUILD" && build.getInterfaceInfo().major == 2);

  auto& runtime = capability<nvinfer1::IPluginV3OneRuntime>(*made, PluginCapabilityType::kRUNTIME);
  const auto* fields = runtime.getFieldsToSerialize();
  CHECK(fields->nbFields == 4);
  const std::unique_ptr<nvinfer1::IPluginV3> read(registry().find("scenebus", "KvAttention")
                                                      .createPlugin("node", fields, nvinfer1::TensorRTPhase::kRUNTIME));
  CHECK(read != nullptr);
  const std::unique_ptr<nvinfer1::IPluginV3> attached(
      capability<nvinfer1::IPluginV3OneRuntime>(*read, PluginCapabilityType::kRUNTIME).attachToContext(nullptr));
  auto& core = capability<nvinfer1::IPluginV3OneCore>(*attached, PluginCapabilityType::kCORE);
  CHECK(std::string(core.getPluginName()) == "KvAttention" && std::string(core.getPluginNamespace()) == "scenebus");
}

TEST_CASE("nvinfer: a product runs through TensorRT's interfaces") {
  Plugins plugins;
  const auto made = plugins.make("Int4MatMul", {{"K", 32}, {"N", 8}, {"group", 32}});
  using nvinfer1::DataType;
  const nvinfer1::PluginTensorDesc in[] = {desc(DataType::kHALF, {2, 32}), desc(DataType::kINT32, {8, 4}),
                                           desc(DataType::kHALF, {8, 1})};
  const nvinfer1::PluginTensorDesc out[] = {desc(DataType::kHALF, {2, 8})};
  nvinfer1::DynamicPluginTensorDesc all[4]{};
  for (int i = 0; i < 3; ++i)
    all[i].desc = in[i];
  all[3].desc = out[0];
  auto& build = capability<nvinfer1::IPluginV3OneBuildV2>(*made, nvinfer1::PluginCapabilityType::kBUILD);
  for (int i = 0; i < 4; ++i)
    CHECK(build.supportsFormatCombination(i, all, 3, 1));
  CHECK(!build.supportsFormatCombination(0, all, 2, 1));
  all[0].desc.type = DataType::kFLOAT;
  CHECK(!build.supportsFormatCombination(0, all, 3, 1));
  const DataType types[] = {DataType::kHALF, DataType::kINT32, DataType::kHALF};
  DataType outputType = DataType::kFLOAT;
  CHECK(build.getOutputDataTypes(&outputType, 1, types, 3) == 0 && outputType == DataType::kHALF);
  CHECK(build.getTimingCacheID() == nullptr); // nothing is tuned, so there is nothing to time

  StreamOwner stream(plugins.device);
  cuda::DeviceBuffer x(plugins.device, 128), packed(plugins.device, 128), scales(plugins.device, 16), y(plugins.device, 32);
  const std::vector<std::uint16_t> ones(64, 0x3c00), scale(8, 0x4000); // 1 and 2
  const std::vector<std::uint8_t> weights(128, 0x99);                  // 1 each
  plugins.device.copyToDevice(x.get(), ones.data(), 128, stream.get());
  plugins.device.copyToDevice(packed.get(), weights.data(), 128, stream.get());
  plugins.device.copyToDevice(scales.get(), scale.data(), 16, stream.get());
  plugins.device.synchronize(stream.get());
  const void* inputs[] = {reinterpret_cast<void*>(x.get()), reinterpret_cast<void*>(packed.get()),
                          reinterpret_cast<void*>(scales.get())};
  void* outputs[] = {reinterpret_cast<void*>(y.get())};
  auto& runtime = capability<nvinfer1::IPluginV3OneRuntime>(*made, nvinfer1::PluginCapabilityType::kRUNTIME);
  CHECK(runtime.onShapeChange(in, 3, out, 1) == 0);
  CHECK(runtime.enqueue(in, out, inputs, outputs, nullptr, static_cast<cudaStream_t>(stream.get())) == 0);
  std::vector<std::uint16_t> result(16);
  plugins.device.copyToHost(result.data(), y.get(), 32, stream.get());
  plugins.device.synchronize(stream.get());
  CHECK(result == std::vector<std::uint16_t>(16, 0x5400)); // 64

  // What cannot be is an error to TensorRT, with words in the log.
  plugins.messages.clear();
  const nvinfer1::PluginTensorDesc wrong[] = {desc(DataType::kHALF, {2, 31}), in[1], in[2]};
  CHECK(runtime.onShapeChange(wrong, 3, out, 1) != 0);
  CHECK(contains(plugins.messages.take(), "Int4MatMul: expected input 0 as [-1, 32] but received [2, 31]"));
  plugins.device.failAt(emulation::Operation::kLaunch, 1);
  CHECK(runtime.enqueue(in, out, inputs, outputs, nullptr, static_cast<cudaStream_t>(stream.get())) != 0);
  CHECK(!plugins.messages.take().empty());
  CHECK(plugins.make("Int4MatMul", {{"K", 32}}) == nullptr);
  CHECK(contains(plugins.messages.take(), "attribute"));
}

#if SCENEBUS_NVINFER_READER_V1
TEST_CASE("nvinfer: a plan is read in pieces") {
  TextSource source;
  PlanReader reader(source);
  char text[8] = {};
  CHECK(reader.read(text, 4) == 4 && std::string(text) == "0123");
  CHECK(reader.read(text, 8) == 6 && reader.read(text, 8) == 0 && reader.read(text, -1) == -1);
}
#endif

#if SCENEBUS_NVINFER_READER_V2
TEST_CASE("nvinfer: a plan is read to host and device, from anywhere") {
  emulation::EmulatedDevice device;
  StreamOwner stream(device);
  TextSource source;
  PlanReaderV2 reader(source, device);
  const auto cudaStream = static_cast<cudaStream_t>(stream.get());
  char text[16] = {};
  CHECK(reader.read(text, 4, cudaStream) == 4 && std::string(text) == "0123");
  CHECK(reader.seek(-2, nvinfer1::SeekPosition::kEND) && reader.read(text, 9, cudaStream) == 2 && text[0] == '8');
  CHECK(reader.seek(3, nvinfer1::SeekPosition::kSET) && reader.seek(1, nvinfer1::SeekPosition::kCUR));
  CHECK(!reader.seek(-1, nvinfer1::SeekPosition::kSET) && !reader.seek(1, nvinfer1::SeekPosition::kEND));
  CHECK(reader.seek(4, nvinfer1::SeekPosition::kSET));
  cuda::DeviceBuffer buffer(device, 16);
  CHECK(device.isDeviceMemory(buffer.get()) && !device.isDeviceMemory(reinterpret_cast<cuda::DevicePointer>(text)));
  CHECK(reader.read(reinterpret_cast<void*>(buffer.get()), 16, cudaStream) == 6);
  device.copyToHost(text, buffer.get(), 6, stream.get());
  device.synchronize(stream.get());
  CHECK(std::string(text, 6) == "456789");
  device.failAt(emulation::Operation::kCopy, 1);
  CHECK(reader.seek(0, nvinfer1::SeekPosition::kSET));
  CHECK(reader.read(reinterpret_cast<void*>(buffer.get()), 4, cudaStream) == -1);
}
#endif

TEST_CASE("nvinfer: the latest complaints are kept, and only those") {
  Messages messages;
  messages.log(nvinfer1::ILogger::Severity::kWARNING, "a warning");
  CHECK(messages.take().empty());
  for (int i = 0; i < 20; ++i)
    messages.log(nvinfer1::ILogger::Severity::kERROR, ("error " + std::to_string(i)).c_str());
  const std::string text = messages.take();
  CHECK(contains(text, "error 19") && contains(text, "error 12") && !contains(text, "error 11"));
  CHECK(speaksOfMemory("[defaultAllocator] out of memory") && !speaksOfMemory("syntax error"));
  const std::string none = "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a...b]}.)";
  const std::string skipped = "Skipping tactic 0x0 due to insufficient memory on requested size of 3937370112 detected";
  CHECK(isForWantOfMemory(none, {skipped}) && isForWantOfMemory("out of memory", {}));
  CHECK(!isForWantOfMemory(none, {}) && !isForWantOfMemory("syntax error", {skipped}));
  CHECK(!isForWantOfMemory(none, {"Skipping tactic 0x1 due to exception unsupported"}));
}

TEST_CASE("nvinfer: a library that cannot start a runtime is told") {
  emulation::EmulatedDevice device;
  LoadedLibraries libraries;
  libraries.version = headerVersion();
  libraries.symbols.createRuntime = [](void*, std::int32_t) -> void* { return nullptr; };
  const std::string failure = failureOf([&] { openNvinferLibrary(libraries, device); });
  CHECK_MESSAGE(contains(failure, "ERR_ENGINE_INCOMPATIBLE") && contains(failure, headerVersion().text()), "%s",
                failure.c_str());
  CHECK(compiledFor() == headerVersion().text());
}
