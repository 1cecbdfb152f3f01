#pragma once
#include "common/cancelFlag.h"
#include "tensorrt/runtime/imageStore.h"
#include "tensorrt/runtime/modelSpec.h"
#include "tensorrt/runtime/engineStage.h"
#include "tensorrt/plan/planCache.h"
#include "tensorrt/runtime/stepGraphs.h"
#include "tensorrt/runtime/weightStore.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace scenebus::tensorrt {

/** K/V of one conversation. */
struct SequenceState {
  cuda::DeviceBuffer memory;
};

/** Told while a model opens. */
struct OpenListener {
  std::function<void(const std::string& stage, const std::string& name, const BuildProgress&)> onProgress;
  std::function<void(const std::string&)> onNotice;
};

struct ForwardCall {
  std::string stage;
  HostInputs inputs;
  /** Joined along the positions in this order. */
  std::vector<const ImageState*> images;
  HostOutputs outputs;
};

/**
 * A model on the device: plans, weights, K/V. All memory is taken when it opens, except for more sequences and images
 * than were announced. One thread at a time; `ModelHost` gives it one of its own.
 *
 * A failure of the device poisons the model: its memory may hold anything, so every further call fails with
 * ERR_ENGINE_FAILED. Running out of memory for one more sequence or image does not.
 */
class Model {
 public:
  /**
   * @throws CodedError ERR_ENGINE_OUT_OF_MEMORY with figures when it cannot fit, before anything large is taken;
   *   ERR_MODEL_INVALID when plans, manifest and weights do not belong together; what `PlanCache` throws. Aborted.
   */
  Model(cuda::Device& device, PlanCache& plans, ModelSpec spec, const OpenListener& listener, CancelFlag abort);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /** @throws CodedError ERR_ENGINE_OUT_OF_MEMORY */
  std::unique_ptr<SequenceState> createSequence();
  void release(std::unique_ptr<SequenceState> sequence) noexcept;

  /** Runs the stages of `encode`; an output of one is an input of a later one by its name. */
  std::unique_ptr<ImageState> encode(const HostInputs& inputs, const HostOutputs& outputs, CancelFlag abort);
  void release(std::unique_ptr<ImageState> image) noexcept;

  /** @throws CodedError, Aborted; the K/V below the call's `past_length` are then as before */
  void forward(SequenceState& sequence, const ForwardCall& call, CancelFlag abort);

  const std::vector<PlanFile>& planFiles() const { return mPlanFiles; }
  const MemoryUse& memory() const { return mMemory; }
  /** Caches that steps copied instead of writing them in place, counted when a step is put together, not when it is repeated. */
  std::uint64_t keyValueCopies() const { return mKeyValueCopies; }
  /** Device memory of one `SequenceState`. */
  std::uint64_t sequenceBytes() const { return mKeyValues.sizeBytes(); }

 private:
  struct LoadedStage {
    LoadedStage(const StageSpec& spec, std::unique_ptr<Engine> engine) : stage(spec, std::move(engine)) {}
    EngineStage stage;
    std::unique_ptr<StepGraphs> steps;
    /** Where this stage's host inputs and outputs begin in the shared area. */
    std::uint64_t areaOffset = 0;
  };
  using Produced = std::map<std::string, DeviceTensor>;

  void load(PlanCache& plans, const OpenListener& listener, CancelFlag abort);
  void arrange();
  void checkKeyValues() const;
  LoadedStage& stageNamed(const std::string& name);
  bool isEncodeStage(const std::string& name) const;
  void requireKnownNames(const std::vector<LoadedStage*>& stages, const HostInputs& inputs, const HostOutputs& outputs,
                         bool mayLackOutputs) const;
  /** Host inputs to the device; shapes and addresses of everything but K/V, which the caller adds. */
  StepSetting bind(LoadedStage& loaded, const HostInputs& inputs, const Produced& produced);
  void copyOutputs(const LoadedStage& loaded, Context& context, const HostOutputs& outputs);
  /** The first are told. */
  void countCopies(std::uint64_t copies, const std::string& stage);
  void requireRoom(const LoadedStage& loaded, const HostInputs& inputs) const;
  /** Runs `work`, waits for the stream whatever happens, gives errors their codes and poisons the model. */
  void guarded(const std::function<void()>& work);

  cuda::Device& mDevice;
  ModelSpec mSpec;
  MemoryUse mMemory;
  std::vector<PlanFile> mPlanFiles;
  std::unique_ptr<StreamOwner> mStream;
  std::unique_ptr<WeightStore> mWeights;
  cuda::DeviceBuffer mScratch, mArea;
  std::vector<std::unique_ptr<LoadedStage>> mStages;
  Layout mKeyValues;
  std::unique_ptr<SlotPool> mSequences;
  /** Where the next step's present K/V go when plans do not write them in place; then it changes places. */
  std::unique_ptr<cuda::DeviceBuffer> mSpare;
  std::unique_ptr<ImageStore> mImages;
  std::uint64_t mKeyValueCopies = 0;
  std::string mPoison;
  std::function<void(const std::string&)> mNotice;
};

} // namespace scenebus::tensorrt
