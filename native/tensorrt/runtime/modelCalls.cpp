// The calls of an open model: sequences, images, forward.
#include "common/codedError.h"
#include "tensorrt/plan/inPlaceWatch.h"
#include "tensorrt/runtime/bindingNames.h"
#include "tensorrt/runtime/model.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace scenebus::tensorrt {
namespace {

/** The model computes nothing any more; with ERR_ENGINE_DIED no other one in this process does either. */
bool isPoison(const std::string& code) {
  return code == "ERR_ENGINE_FAILED" || code == "ERR_ENGINE_DIED";
}

bool varies(const Shape& shape) {
  return std::any_of(shape.begin(), shape.end(), [](std::int64_t side) { return side < 0; });
}

} // namespace

void Model::guarded(const std::function<void()>& work) {
  if (!mPoison.empty())
    throw CodedError("ERR_ENGINE_FAILED", mSpec.name + " failed before and must be opened anew: " + mPoison);
  // The caller's memory may still be read or written by what is in the stream.
  const auto settle = [this] {
    try {
      mDevice.synchronize(mStream->get());
    } catch (const cuda::CudaError& error) {
      if (mPoison.empty())
        mPoison = error.what();
    }
  };
  try {
    mDevice.makeCurrent();
    work();
    mDevice.synchronize(mStream->get());
  } catch (const cuda::CudaError& error) {
    if (isPoison(error.code()))
      mPoison = error.what();
    settle();
    throw CodedError(error.code(), error.what());
  } catch (const CodedError& error) {
    if (isPoison(error.code()))
      mPoison = error.what();
    settle();
    throw;
  } catch (...) {
    settle();
    throw;
  }
}

std::unique_ptr<SequenceState> Model::createSequence() {
  auto sequence = std::make_unique<SequenceState>();
  guarded([&] {
    sequence->memory = mSequences->take(mKeyValues.sizeBytes());
    // Positions that nothing was written to are masked, and zero times anything but a number is no number.
    mDevice.fill(sequence->memory.get(), 0, sequence->memory.bytes(), mStream->get());
  });
  return sequence;
}

void Model::release(std::unique_ptr<SequenceState> sequence) noexcept {
  mSequences->give(std::move(sequence->memory));
}

void Model::release(std::unique_ptr<ImageState> image) noexcept {
  mImages->release(std::move(image));
}

void Model::requireKnownNames(const std::vector<LoadedStage*>& stages, const HostInputs& inputs,
                              const HostOutputs& outputs, bool mayLackOutputs) const {
  const auto require = [&](const std::string& name, Role role, const char* what) {
    for (const auto* loaded : stages)
      for (const auto& slot : loaded->stage.slots())
        if (slot.binding.name == name && slot.binding.role == role)
          return;
    throw CodedError("ERR_ARGUMENT_INVALID", stages.front()->stage.name() + " has no " + what + " " + name);
  };
  for (const auto& entry : inputs)
    require(entry.first, Role::kHost, "input");
  for (const auto& entry : outputs)
    require(entry.first, Role::kOutput, "output");
  if (!mayLackOutputs && outputs.empty())
    throw CodedError("ERR_ARGUMENT_INVALID", "expected an output to copy");
}

StepSetting Model::bind(LoadedStage& loaded, const HostInputs& inputs, const Produced& produced) {
  loaded.stage.checkInputs(inputs, produced);
  StepSetting setting;
  const cuda::DevicePointer area = mArea.get() + loaded.areaOffset;
  for (const auto& slot : loaded.stage.slots()) {
    const auto& name = slot.binding.name;
    if (slot.binding.role == Role::kWeight) {
      setting.addresses.emplace_back(name, mWeights->addressOf(name));
    } else if (slot.binding.role == Role::kOutput) {
      setting.addresses.emplace_back(name, area + loaded.stage.area().offsetOf(name));
    } else if (slot.binding.role == Role::kHost) {
      const auto made = produced.find(name);
      if (made != produced.end()) {
        if (!matches(slot.binding.shape, made->second.shape))
          throw CodedError("ERR_MODEL_INVALID", "expected " + name + " as " + shapeText(slot.binding.shape) +
                                                    " but the stage before makes " + shapeText(made->second.shape));
        setting.addresses.emplace_back(name, made->second.address);
        if (varies(slot.binding.shape))
          setting.shapes.emplace_back(name, made->second.shape);
        continue;
      }
      const HostInput& input = inputs.at(name);
      if (slot.isOnHost) {
        setting.addresses.emplace_back(name, reinterpret_cast<cuda::DevicePointer>(input.data));
      } else {
        const cuda::DevicePointer to = area + loaded.stage.area().offsetOf(name);
        mDevice.copyToDevice(to, input.data, input.sizeBytes, mStream->get());
        setting.addresses.emplace_back(name, to);
      }
      if (varies(slot.binding.shape))
        setting.shapes.emplace_back(name, input.shape);
    }
  }
  return setting;
}

void Model::copyOutputs(const LoadedStage& loaded, Context& context, const HostOutputs& outputs) {
  for (const auto& slot : loaded.stage.slots()) {
    const auto wanted = outputs.find(slot.binding.name);
    if (slot.binding.role != Role::kOutput || wanted == outputs.end())
      continue;
    const Shape shape = context.shapeOf(slot.binding.name);
    const std::uint64_t bytes = elementCount(shape) * elementBytes(slot.binding.type);
    if (bytes != wanted->second.sizeBytes)
      throw CodedError("ERR_ARGUMENT_INVALID", "expected room for " + slot.binding.name + " " + shapeText(shape) +
                                                   ", " + std::to_string(bytes) + " bytes, but received " +
                                                   std::to_string(wanted->second.sizeBytes));
    mDevice.copyToHost(wanted->second.data,
                       mArea.get() + loaded.areaOffset + loaded.stage.area().offsetOf(slot.binding.name), bytes,
                       mStream->get());
  }
}

std::unique_ptr<ImageState> Model::encode(const HostInputs& inputs, const HostOutputs& outputs, CancelFlag abort) {
  std::unique_ptr<ImageState> image;
  try {
    guarded([&] {
      std::vector<LoadedStage*> stages;
      for (const auto& name : mSpec.encode)
        stages.push_back(&stageNamed(name));
      if (stages.empty())
        throw CodedError("ERR_ARGUMENT_INVALID", mSpec.name + " has no stage that encodes images");
      requireKnownNames(stages, inputs, outputs, true);
      Produced produced;
      for (auto* loaded : stages) {
        abort.check();
        StepSetting setting = bind(*loaded, inputs, produced);
        // How many positions the image has follows from the inputs' shapes.
        Context& context = loaded->stage.context();
        for (const auto& [name, shape] : setting.shapes)
          context.setShape(name, shape);
        for (const auto& slot : loaded->stage.slots()) {
          if (slot.binding.role != Role::kCross)
            continue;
          if (!image)
            image = mImages->create(context.shapeOf(slot.binding.name).at(2));
          setting.addresses.emplace_back(slot.binding.name,
                                         image->memory.get() + image->layout.offsetOf(slot.binding.name));
        }
        Context& ran = loaded->steps->run(setting, mStream->get());
        for (const auto& slot : loaded->stage.slots())
          if (slot.binding.role == Role::kOutput)
            produced[slot.binding.name] = {mArea.get() + loaded->areaOffset +
                                               loaded->stage.area().offsetOf(slot.binding.name),
                                           ran.shapeOf(slot.binding.name)};
        copyOutputs(*loaded, ran, outputs);
        // A vision tower takes long: an abort shall not wait for what follows it.
        mDevice.synchronize(mStream->get());
      }
      if (!image)
        throw CodedError("ERR_MODEL_INVALID", "no stage of " + mSpec.name + " makes cross-attention K/V");
    });
  } catch (...) {
    if (image)
      mImages->release(std::move(image));
    throw;
  }
  return image;
}

void Model::requireRoom(const LoadedStage& loaded, const HostInputs& inputs) const {
  // Known by name, since a wrong value writes outside of the K/V.
  const auto past = inputs.find(bindingNames::kPastLength), embeddings = inputs.find(bindingNames::kInputsEmbeds);
  if (past == inputs.end() || embeddings == inputs.end())
    return;
  std::int32_t length = 0;
  std::memcpy(&length, past->second.data, sizeof(length));
  const std::int64_t rows = embeddings->second.shape.at(1);
  for (const auto& slot : loaded.stage.slots())
    if (slot.binding.role == Role::kPast && (length < 0 || length + rows > slot.maxShape.at(2)))
      throw CodedError("ERR_CONTEXT_OVERFLOW", "expected at most " + std::to_string(slot.maxShape.at(2)) +
                                                   " positions but " + std::to_string(rows) + " rows follow " +
                                                   std::to_string(length));
}

void Model::countCopies(std::uint64_t copies, const std::string& stage) {
  if (copies > 0 && mKeyValueCopies == 0 && mNotice)
    mNotice("TensorRT copies K/V of " + stage + ", " + std::to_string(copies) +
            " caches in a step, instead of letting plugins write them in place: steps take longer with every position "
            "of context");
  mKeyValueCopies += copies;
}

void Model::forward(SequenceState& sequence, const ForwardCall& call, CancelFlag abort) {
  guarded([&] {
    abort.check();
    LoadedStage& loaded = stageNamed(call.stage);
    if (isEncodeStage(call.stage))
      throw CodedError("ERR_ARGUMENT_INVALID", call.stage + " encodes images and decodes no text");
    requireKnownNames({&loaded}, call.inputs, call.outputs, false);
    const auto& slots = loaded.stage.slots();
    const bool attends = std::any_of(slots.begin(), slots.end(),
                                     [](const EngineStage::Slot& slot) { return slot.binding.role == Role::kCross; });
    if (attends == call.images.empty())
      throw CodedError("ERR_ARGUMENT_INVALID", call.stage + (attends ? " attends to images but none came"
                                                                     : " attends to no images but some came"));
    StepSetting setting = bind(loaded, call.inputs, {});
    requireRoom(loaded, call.inputs);
    const ImageState* cross = attends ? &mImages->joined(call.images, mStream->get()) : nullptr;
    const bool isInPlace = loaded.stage.spec().plan.options.plugins;
    bool writes = false;
    for (const auto& slot : slots) {
      const auto& name = slot.binding.name;
      if (slot.binding.role == Role::kPast) {
        setting.addresses.emplace_back(name, sequence.memory.get() + mKeyValues.offsetOf(name));
      } else if (slot.binding.role == Role::kPresent) {
        const auto& memory = isInPlace ? sequence.memory : *mSpare;
        setting.addresses.emplace_back(name, memory.get() + mKeyValues.offsetOf(pastOf(name)));
        writes = true;
      } else if (slot.binding.role == Role::kCross) {
        if (cross->positions > slot.maxShape.at(2))
          throw CodedError("ERR_LIMIT_EXCEEDED", "expected at most " + std::to_string(slot.maxShape.at(2)) +
                                                     " positions of images but they have " +
                                                     std::to_string(cross->positions));
        setting.addresses.emplace_back(name, cross->memory.get() + cross->layout.offsetOf(name));
        Shape shape = slot.binding.shape;
        if (varies(shape)) {
          shape.at(2) = cross->positions;
          setting.shapes.emplace_back(name, std::move(shape));
        }
      }
    }
    const InPlaceWatch watch(sequence.memory.get(), sequence.memory.bytes());
    Context& ran = loaded.steps->run(setting, mStream->get());
    countCopies(watch.copies(), call.stage);
    copyOutputs(loaded, ran, call.outputs);
    mDevice.synchronize(mStream->get());
    // Only a step that succeeded counts: until here the sequence is as it was.
    if (writes && !isInPlace)
      std::swap(sequence.memory, *mSpare);
  });
}

} // namespace scenebus::tensorrt
