#include "tensorrt/runtime/engineStage.h"

#include "common/codedError.h"
#include "tensorrt/runtime/bindingNames.h"

#include <algorithm>
#include <set>

namespace scenebus::tensorrt {
namespace {

bool isInputRole(Role role) {
  return role == Role::kHost || role == Role::kPast || role == Role::kWeight;
}
bool isOutputRole(Role role) {
  return role == Role::kPresent || role == Role::kOutput;
}

[[noreturn]] void differ(const StageSpec& spec, const std::string& message) {
  throw CodedError("ERR_MODEL_INVALID",
                   "the plan of " + spec.name + " and its manifest differ: " + message + "; prepare the model again");
}

std::string described(TensorType type, const Shape& shape) {
  return typeName(type) + (" " + shapeText(shape));
}

} // namespace

std::string pastOf(const std::string& present) {
  const std::string prefix = bindingNames::kPresentPrefix;
  if (present.compare(0, prefix.size(), prefix) != 0)
    throw CodedError("ERR_MODEL_INVALID", "expected present K/V named present_… but received " + present);
  return bindingNames::kPastPrefix + present.substr(prefix.size());
}

void StepSetting::apply(Context& context) const {
  for (const auto& [name, shape] : shapes)
    context.setShape(name, shape);
  for (const auto& [name, address] : addresses)
    context.setAddress(name, address);
}

std::string StepSetting::key() const {
  std::string text;
  for (const auto& [name, shape] : shapes)
    text += name + shapeText(shape) + ' ';
  for (const auto& [name, address] : addresses)
    text += std::to_string(address) + ' ';
  return text;
}

EngineStage::EngineStage(const StageSpec& spec, std::unique_ptr<Engine> engine)
    : mSpec(spec), mEngine(std::move(engine)), mContext(mEngine->createContext()) {
  std::set<std::string> named;
  for (const auto& tensor : mEngine->tensors()) {
    const auto binding = std::find_if(spec.bindings.begin(), spec.bindings.end(),
                                      [&](const Binding& candidate) { return candidate.name == tensor.name; });
    if (binding == spec.bindings.end())
      differ(spec, "the plan has a tensor " + tensor.name + " that the manifest lacks");
    if (tensor.isInput ? isOutputRole(binding->role) : isInputRole(binding->role))
      differ(spec, tensor.name + " is an " + (tensor.isInput ? "input" : "output") + " of the plan");
    if (tensor.type != binding->type || tensor.shape.size() != binding->shape.size())
      differ(spec, tensor.name + " is " + described(tensor.type, tensor.shape) + " instead of " +
                       described(binding->type, binding->shape));
    named.insert(tensor.name);
    Slot slot{*binding, tensor.isInput, tensor.isOnHost, {}};
    // The plan knows better than the manifest what varies; fixed dimensions of both must agree.
    for (std::size_t i = 0; i < slot.binding.shape.size(); ++i) {
      auto& side = slot.binding.shape[i];
      if (tensor.shape[i] >= 0 && side >= 0 && side != tensor.shape[i])
        differ(spec, tensor.name + " is " + described(tensor.type, tensor.shape) + " instead of " +
                         described(binding->type, binding->shape));
      if (tensor.shape[i] >= 0)
        side = tensor.shape[i];
    }
    if (slot.isInput) {
      const Shape built = mEngine->maxShapeOf(tensor.name);
      if (built != binding->maxShape)
        differ(spec, tensor.name + " may have " + shapeText(built) + " instead of " + shapeText(binding->maxShape));
    }
    // Never asked of a context with every input at its largest: sizes that vary for themselves need not fit together.
    slot.maxShape = binding->maxShape;
    if (!matches(slot.binding.shape, slot.maxShape))
      differ(spec, tensor.name + " of at most " + shapeText(slot.maxShape) + " is no " + shapeText(slot.binding.shape));
    mSlots.push_back(std::move(slot));
  }
  for (const auto& binding : spec.bindings)
    if (named.count(binding.name) == 0)
      differ(spec, "the manifest has a tensor " + binding.name + " that the plan lacks");
  for (const auto& slot : mSlots) {
    if (slot.binding.role == Role::kHost || slot.binding.role == Role::kOutput)
      mArea.add(slot.binding.name, slot.maxBytes());
  }
}

void EngineStage::checkInputs(const HostInputs& inputs, const std::map<std::string, DeviceTensor>& produced) const {
  const auto refuse = [&](const std::string& message) {
    throw CodedError("ERR_ARGUMENT_INVALID", mSpec.name + ": " + message);
  };
  for (const auto& slot : mSlots) {
    if (slot.binding.role != Role::kHost || produced.count(slot.binding.name) > 0)
      continue;
    const auto found = inputs.find(slot.binding.name);
    if (found == inputs.end())
      refuse("the input " + slot.binding.name + " is missing");
    const HostInput& input = found->second;
    bool fits = input.type == slot.binding.type && matches(slot.binding.shape, input.shape) &&
                input.sizeBytes == elementCount(input.shape) * elementBytes(input.type);
    for (std::size_t i = 0; fits && i < input.shape.size(); ++i)
      fits = input.shape[i] <= slot.maxShape[i];
    if (!fits)
      refuse("expected " + slot.binding.name + " as " + described(slot.binding.type, slot.binding.shape) +
             " of at most " + shapeText(slot.maxShape) + " but received " + described(input.type, input.shape) +
             " in " + std::to_string(input.sizeBytes) + " bytes");
  }
}

} // namespace scenebus::tensorrt
