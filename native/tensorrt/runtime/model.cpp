#include "tensorrt/runtime/model.h"

#include "common/codedError.h"
#include "tensorrt/runtime/memoryForecast.h"

#include <algorithm>

namespace scenebus::tensorrt {
namespace {

std::uint64_t keyValueBytes(const ModelSpec& spec) {
  Layout layout;
  for (const auto& stage : spec.stages)
    for (const auto& binding : stage.bindings)
      if (binding.role == Role::kPast && !layout.has(binding.name))
        layout.add(binding.name, elementCount(binding.shape) * elementBytes(binding.type));
  return layout.sizeBytes();
}

/** Whether any decoder stage writes present K/V beside past ones. */
bool needsSpare(const ModelSpec& spec) {
  return std::any_of(spec.stages.begin(), spec.stages.end(), [](const StageSpec& stage) {
    return !stage.plan.options.plugins && std::any_of(stage.bindings.begin(), stage.bindings.end(), [](const Binding& b) {
      return b.role == Role::kPresent;
    });
  });
}

std::vector<Binding> crossBindings(const ModelSpec& spec) {
  std::vector<Binding> cross;
  for (const auto& stage : spec.stages)
    for (const auto& binding : stage.bindings)
      if (binding.role == Role::kCross && std::none_of(cross.begin(), cross.end(), [&](const Binding& known) {
            return known.name == binding.name;
          }))
        cross.push_back(binding);
  return cross;
}

} // namespace

Model::Model(cuda::Device& device, PlanCache& plans, ModelSpec spec, const OpenListener& listener, CancelFlag abort)
    : mDevice(device), mSpec(std::move(spec)), mNotice(listener.onNotice) {
  mDevice.makeCurrent();
  try {
    mStream = std::make_unique<StreamOwner>(device);
    load(plans, listener, abort);
    arrange();
    mWeights = std::make_unique<WeightStore>(device, mSpec.weights, abort, [&](std::uint64_t done, std::uint64_t total) {
      // In megabytes: a count of bytes need not fit an int.
      if (listener.onProgress)
        listener.onProgress("weights", "", {"", static_cast<int>(done >> 20), static_cast<int>(total >> 20)});
    });
  } catch (const cuda::CudaError& error) {
    throw CodedError(error.code(), mSpec.name + " cannot be opened: " + error.what());
  }
}

Model::~Model() = default;

void Model::load(PlanCache& plans, const OpenListener& listener, CancelFlag abort) {
  const auto cross = crossBindings(mSpec);
  mMemory.weights = WeightStore::sizeBytes(mSpec.weights);
  mMemory.keyValues = keyValueBytes(mSpec) * (static_cast<std::uint64_t>(mSpec.sequences) + (needsSpare(mSpec) ? 1 : 0));
  mMemory.images = ImageStore::sizeBytes(cross, mSpec.imagePositions) * static_cast<std::uint64_t>(mSpec.images);
  MemoryUse expected = mMemory;
  for (const auto& stage : mSpec.stages)
    expected.plans += stage.plan.expectedBytes;
  // Before hours are spent on plans that cannot run.
  requireDeviceMemory(mSpec, expected, availableDeviceBytes(mDevice), mDevice.info());

  for (const auto& spec : mSpec.stages) {
    PlanListener planListener;
    const auto report = [&](const char* stage, const BuildProgress& progress) {
      if (listener.onProgress)
        listener.onProgress(stage, spec.name, progress);
    };
    planListener.onProgress = [&](const BuildProgress& progress) { report("build", progress); };
    planListener.onWait = [&] { report("wait", {}); };
    planListener.onNotice = listener.onNotice;
    mPlanFiles.push_back(plans.ensure(spec.plan, planListener, abort));
  }
  // What plans hold of weights is about what their files hold.
  expected = mMemory;
  for (const auto& file : mPlanFiles)
    expected.plans += file.sizeBytes;
  requireDeviceMemory(mSpec, expected, availableDeviceBytes(mDevice), mDevice.info());

  const std::uint64_t before = availableDeviceBytes(mDevice);
  for (std::size_t i = 0; i < mSpec.stages.size(); ++i) {
    abort.check();
    const auto& spec = mSpec.stages[i];
    PlanListener planListener;
    planListener.onNotice = listener.onNotice;
    planListener.onProgress = [&](const BuildProgress& progress) {
      if (listener.onProgress)
        listener.onProgress("build", spec.name, progress);
    };
    if (listener.onProgress)
      listener.onProgress("load", spec.name, {"", static_cast<int>(i), static_cast<int>(mSpec.stages.size())});
    mStages.push_back(std::make_unique<LoadedStage>(spec, plans.load(spec.plan, mPlanFiles[i], planListener, abort)));
    if (spec.plan.options.inspected)
      mPlanFiles[i].layers = mStages.back()->stage.engine().layers();
  }
  const std::uint64_t after = availableDeviceBytes(mDevice);
  mMemory.plans = before > after ? before - after : 0;
}

void Model::arrange() {
  std::uint64_t encodeArea = 0, decoderArea = 0;
  for (const auto& loaded : mStages) {
    const EngineStage& stage = loaded->stage;
    mMemory.scratch = std::max(mMemory.scratch, stage.engine().scratchBytes());
    // Stages of one `encode` read what those before them made; a decoder stage has the area to itself.
    if (isEncodeStage(stage.name())) {
      loaded->areaOffset = encodeArea;
      encodeArea += stage.area().sizeBytes();
    } else {
      decoderArea = std::max(decoderArea, stage.area().sizeBytes());
    }
    for (const auto& slot : stage.slots()) {
      const auto& binding = slot.binding;
      if (binding.role == Role::kPast) {
        const std::uint64_t bytes = slot.maxBytes();
        if (!mKeyValues.has(binding.name))
          mKeyValues.add(binding.name, bytes);
      } else if (binding.role == Role::kWeight) {
        const auto weight = std::find_if(mSpec.weights.begin(), mSpec.weights.end(),
                                         [&](const WeightLocation& w) { return w.name == binding.name; });
        if (weight == mSpec.weights.end() || weight->sizeBytes != slot.maxBytes())
          throw CodedError("ERR_MODEL_INVALID",
                           "expected the weight " + binding.name + " of " + std::to_string(slot.maxBytes()) +
                               " bytes but the checkpoint has " +
                               (weight == mSpec.weights.end() ? "none" : std::to_string(weight->sizeBytes)));
      }
    }
  }
  checkKeyValues();
  mMemory.bindings = alignDevice(std::max(encodeArea, decoderArea));
  MemoryUse needed = mMemory;
  needed.plans = 0; // already taken
  requireDeviceMemory(mSpec, needed, availableDeviceBytes(mDevice), mDevice.info());

  mScratch = cuda::DeviceBuffer(mDevice, std::max<std::uint64_t>(mMemory.scratch, kDeviceAlignment));
  mArea = cuda::DeviceBuffer(mDevice, std::max<std::uint64_t>(mMemory.bindings, kDeviceAlignment));
  mSequences = std::make_unique<SlotPool>(mDevice, mKeyValues.sizeBytes(), mSpec.sequences);
  if (needsSpare(mSpec)) {
    mSpare = std::make_unique<cuda::DeviceBuffer>(mDevice, mKeyValues.sizeBytes());
    mDevice.fill(mSpare->get(), 0, mSpare->bytes(), mStream->get());
    mDevice.synchronize(mStream->get());
  }
  mImages = std::make_unique<ImageStore>(mDevice, crossBindings(mSpec), mSpec.imagePositions, mSpec.images);
  for (const auto& loaded : mStages)
    loaded->steps = std::make_unique<StepGraphs>(mDevice, loaded->stage, mScratch.get(), mScratch.bytes(), mNotice);
}

void Model::checkKeyValues() const {
  for (const auto& loaded : mStages)
    for (const auto& slot : loaded->stage.slots()) {
      const auto& binding = slot.binding;
      if (binding.role != Role::kPast && binding.role != Role::kPresent)
        continue;
      const std::string name = binding.role == Role::kPresent ? pastOf(binding.name) : binding.name;
      if (!mKeyValues.has(name) || slot.maxBytes() != mKeyValues.sizeOf(name))
        throw CodedError("ERR_MODEL_INVALID", binding.name + " of " + loaded->stage.name() +
                                                  " has another size than its like in other stages; prepare the model "
                                                  "again");
    }
}

bool Model::isEncodeStage(const std::string& name) const {
  return std::find(mSpec.encode.begin(), mSpec.encode.end(), name) != mSpec.encode.end();
}

Model::LoadedStage& Model::stageNamed(const std::string& name) {
  for (const auto& loaded : mStages)
    if (loaded->stage.name() == name)
      return *loaded;
  throw CodedError("ERR_ARGUMENT_INVALID", "the model has no stage " + name);
}

} // namespace scenebus::tensorrt
