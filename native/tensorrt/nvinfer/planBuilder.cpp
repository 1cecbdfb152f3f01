#include "tensorrt/nvinfer/planBuilder.h"

#include "common/codedError.h"
#include "common/mappedFile.h"
#include "tensorrt/nvinfer/types.h"

#include <map>
#include <mutex>
#include <utility>

namespace scenebus::tensorrt {
namespace {

/** Tells phases and asks whether to go on; called by several threads of the builder. */
class Monitor final : public nvinfer1::IProgressMonitor {
public:
  explicit Monitor(BuildObserver& observer) : mObserver(observer) {}

  void phaseStart(const char* phase, const char*, std::int32_t steps) noexcept override {
    report(phase, 0, [&](BuildProgress& progress) { progress.total = steps; });
  }
  bool stepComplete(const char* phase, std::int32_t step) noexcept override {
    report(phase, step + 1, [](BuildProgress&) {});
    return !mObserver.isCancelled();
  }
  void phaseFinish(const char* phase) noexcept override {
    report(phase, 0, [](BuildProgress& progress) { progress.done = progress.total; });
  }

private:
  template <typename Change> void report(const char* phase, std::int32_t done, const Change& change) noexcept {
    try {
      const std::lock_guard<std::mutex> guard(mMutex);
      BuildProgress& progress = mPhases[phase == nullptr ? "" : phase];
      progress.phase = phase == nullptr ? "" : phase;
      progress.done = done;
      change(progress);
      mObserver.onProgress(progress);
    } catch (...) {
      // A build must not fail because its progress cannot be told.
    }
  }

  BuildObserver& mObserver;
  std::mutex mMutex;
  std::map<std::string, BuildProgress> mPhases;
};

class HostBytes final : public PlanBytes {
public:
  explicit HostBytes(std::unique_ptr<nvinfer1::IHostMemory> memory) : mMemory(std::move(memory)) {}
  const void* data() const override { return mMemory->data(); }
  std::size_t sizeBytes() const override { return mMemory->size(); }

private:
  std::unique_ptr<nvinfer1::IHostMemory> mMemory;
};

std::string parserErrors(nvonnxparser::IParser& parser) {
  std::string text;
  for (int i = 0; i < parser.getNbErrors(); ++i) {
    const nvonnxparser::IParserError* error = parser.getError(i);
    const auto part = [](const char* value) { return std::string(value == nullptr ? "" : value); };
    text += "\n  node " + std::to_string(error->node()) + " " + part(error->nodeName()) + " (" +
            part(error->nodeOperator()) + "): " + part(error->desc());
  }
  return text;
}

template <typename T> T& required(T* made, const char* what, Messages& messages) {
  if (made == nullptr)
    throw CodedError("ERR_ENGINE_FAILED", std::string("TensorRT could not make ") + what + ":" + messages.take());
  return *made;
}

void addProfile(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config, const BuildOptions& options,
                Messages& messages) {
  if (options.profile.empty())
    return;
  // The builder owns it. One a plan: several gave wrong results with int4 before 10.8.
  auto& profile = required(builder.createOptimizationProfile(), "an optimisation profile", messages);
  for (const auto& range : options.profile) {
    const std::pair<nvinfer1::OptProfileSelector, const Shape*> sides[] = {
        {nvinfer1::OptProfileSelector::kMIN, &range.min},
        {nvinfer1::OptProfileSelector::kOPT, &range.opt},
        {nvinfer1::OptProfileSelector::kMAX, &range.max}};
    for (const auto& [selector, shape] : sides)
      if (!profile.setDimensions(range.name.c_str(), selector, dimsOf(*shape)))
        throw CodedError("ERR_MODEL_INVALID", "TensorRT refuses the shapes " + shapeText(range.min) +
                                                  shapeText(range.opt) + shapeText(range.max) + " of " + range.name +
                                                  ":" + messages.take());
  }
  if (config.addOptimizationProfile(&profile) < 0)
    throw CodedError("ERR_MODEL_INVALID", "TensorRT refuses the profile of " + options.graph + ":" + messages.take());
}

/** Null without one that can be used; `timing.ignored` then tells why, unless there was none. */
std::unique_ptr<nvinfer1::ITimingCache> useTimings(nvinfer1::IBuilderConfig& config, TimingCache& timing) {
  std::unique_ptr<nvinfer1::ITimingCache> cache;
  if (!timing.bytes.empty()) {
    cache.reset(config.createTimingCache(timing.bytes.data(), timing.bytes.size()));
    if (cache && config.setTimingCache(*cache, false))
      return cache;
    timing.ignored = "TensorRT refused it";
  }
  cache.reset(config.createTimingCache(nullptr, 0));
  if (cache && !config.setTimingCache(*cache, false))
    cache.reset();
  return cache;
}

} // namespace

std::unique_ptr<PlanBytes> buildPlan(const LibrarySymbols& symbols, Messages& messages, cuda::Device& device,
                                     const BuildOptions& options, TimingCache& timing, BuildObserver& observer) {
  if (options.plugins && !device.hasKernels())
    throw CodedError("ERR_NATIVE_UNAVAILABLE", "Plugins need our CUDA kernels, which this addon was built without. "
                                               "Install CUDA's nvcc, then npm run build:native");
  device.makeCurrent();
  messages.clear();
  const std::unique_ptr<nvinfer1::IBuilder> builder(
      static_cast<nvinfer1::IBuilder*>(symbols.createBuilder(&messages, kVersionForFactories)));
  required(builder.get(), "a builder", messages);
  const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(stronglyTyped()));
  required(network.get(), "a network", messages);
  const std::unique_ptr<nvonnxparser::IParser> parser(static_cast<nvonnxparser::IParser*>(
      symbols.createParser(network.get(), &messages, static_cast<int>(NV_ONNX_PARSER_VERSION))));
  required(parser.get(), "a parser", messages);
  const MappedFile graph("the graph", options.graph);
  // The parser takes the folder of this path for the one that external data are relative to; it opens no such file.
  const std::string place = options.weightsRoot + "/graph.onnx";
  if (!parser->parse(graph.data(), graph.sizeBytes(), place.c_str()))
    throw CodedError("ERR_MODEL_UNSUPPORTED",
                     "TensorRT cannot read the graph " + options.graph + ":" + parserErrors(*parser) + messages.take());

  const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  required(config.get(), "a configuration", messages);
  Monitor monitor(observer);
  config->setProgressMonitor(&monitor);
  if (options.workspaceBytes > 0)
    config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, options.workspaceBytes);
  // kTACTIC_DRAM stays at its default. On a board it covers the host memory of the build too, and a share of what is
  // free just then, small after a model was read through the page cache, makes the builder skip what would have fitted.
  config->setBuilderOptimizationLevel(options.optimizationLevel);
  if (options.inspected)
    config->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
  // Everything in the caller's stream: steps are recorded, and more streams take more scratch.
  config->setMaxAuxStreams(0);
  if (options.plugins)
    config->setPreviewFeature(nvinfer1::PreviewFeature::kALIASED_PLUGIN_IO_10_03, true);
  addProfile(*builder, *config, options, messages);
  const auto timings = useTimings(*config, timing);

  std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
  const auto remarks = messages.takeRemarks();
  for (const auto& remark : remarks)
    observer.onRemark(remark);
  if (observer.isCancelled())
    throw Aborted();
  if (!plan || plan->size() == 0) {
    const std::string reasons = messages.take();
    throw CodedError(isForWantOfMemory(reasons, remarks) ? "ERR_ENGINE_OUT_OF_MEMORY" : "ERR_MODEL_UNSUPPORTED",
                     "TensorRT cannot build a plan of " + options.graph + ":" + reasons);
  }
  timing.bytes.clear();
  if (timings) {
    const std::unique_ptr<nvinfer1::IHostMemory> kept(timings->serialize());
    if (kept) {
      const auto* bytes = static_cast<const std::uint8_t*>(kept->data());
      timing.bytes.assign(bytes, bytes + kept->size());
    }
  }
  return std::make_unique<HostBytes>(std::move(plan));
}

} // namespace scenebus::tensorrt
