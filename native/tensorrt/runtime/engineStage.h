#pragma once
#include "tensorrt/plan/inferenceLibrary.h"
#include "tensorrt/runtime/deviceMemory.h"
#include "tensorrt/runtime/modelSpec.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace scenebus::tensorrt {

/** A tensor on the device that one stage made and another reads. */
struct DeviceTensor {
  cuda::DevicePointer address = 0;
  Shape shape;
};

/** `past_key.3` for `present_key.3`. @throws CodedError ERR_MODEL_INVALID for a name of another form */
std::string pastOf(const std::string& present);

/** Everything that decides what a step does: shapes of inputs and addresses of all tensors. */
struct StepSetting {
  std::vector<std::pair<std::string, Shape>> shapes;
  std::vector<std::pair<std::string, cuda::DevicePointer>> addresses;
  void apply(Context& context) const;
  /** Equal for settings that a recorded graph serves alike. */
  std::string key() const;
};

/** A loaded plan with its bindings checked against the manifest's. */
class EngineStage {
public:
  /** @throws CodedError ERR_MODEL_INVALID when plan and manifest differ */
  EngineStage(const StageSpec& spec, std::unique_ptr<Engine> engine);

  struct Slot {
    Binding binding;
    bool isInput = false;
    bool isOnHost = false;
    /** Largest shape, as the manifest states it. */
    Shape maxShape;
    std::uint64_t maxBytes() const { return elementCount(maxShape) * elementBytes(binding.type); }
  };

  const std::string& name() const { return mSpec.name; }
  const StageSpec& spec() const { return mSpec; }
  const std::vector<Slot>& slots() const { return mSlots; }
  Engine& engine() const { return *mEngine; }
  /** The one for steps that are not recorded. */
  Context& context() const { return *mContext; }

  /** Places of host inputs and outputs, counted from the start of the area that stages share. */
  const Layout& area() const { return mArea; }

  /** Checks a call's inputs: every host input there, of the right type and of a shape that the plan takes. */
  void checkInputs(const HostInputs& inputs, const std::map<std::string, DeviceTensor>& produced) const;

private:
  StageSpec mSpec;
  std::unique_ptr<Engine> mEngine; // outlives the context
  std::unique_ptr<Context> mContext;
  std::vector<Slot> mSlots;
  Layout mArea;
};

} // namespace scenebus::tensorrt
