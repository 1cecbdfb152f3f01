#include "tests/tensorrt/runtime/modelFixture.h"

#include <numeric>

namespace scenebus::test {
namespace {

using namespace tensorrt;

float sumOf(const float* values, std::int64_t count) {
  return std::accumulate(values, values + count, 0.0f);
}

FakeTensor input(const char* name, TensorType type, Shape shape, Shape max) {
  return {{name, type, shape, true, false}, max};
}
FakeTensor output(const char* name, TensorType type, Shape shape) {
  return {{name, type, shape, false, false}, {}};
}

constexpr TensorType kFloat = TensorType::kFloat32;

FakeEngineKind visionKind() {
  FakeEngineKind kind;
  kind.tensors = {input("pixels", kFloat, {-1}, {ModelFixture::kMostKeys}), output("states", kFloat, {1, -1, 1})};
  kind.scratchBytes = 512;
  kind.shapeOf = [](const std::string&, const auto& inputs) { return Shape{1, inputs.at("pixels")[0], 1}; };
  kind.compute = [](const StepTensors& tensors) {
    const auto& pixels = tensors.at("pixels");
    for (std::int64_t i = 0; i < pixels.shape[0]; ++i)
      tensors.at("states").as<float>()[i] = 2 * pixels.as<float>()[i];
  };
  return kind;
}

FakeEngineKind crossKind() {
  FakeEngineKind kind;
  kind.tensors = {input("states", kFloat, {1, -1, 1}, {1, ModelFixture::kMostKeys, 1}),
                  output("cross_key.0", kFloat, {1, 2, -1, 1})};
  kind.shapeOf = [](const std::string&, const auto& inputs) { return Shape{1, 2, inputs.at("states")[1], 1}; };
  kind.compute = [](const StepTensors& tensors) {
    const std::int64_t keys = tensors.at("states").shape[1];
    for (int head = 0; head < 2; ++head)
      for (std::int64_t i = 0; i < keys; ++i)
        tensors.at("cross_key.0").as<float>()[head * keys + i] = 100.0f * head + tensors.at("states").as<float>()[i];
  };
  return kind;
}

FakeEngineKind decoderKind(std::int64_t mostRows, bool isCross) {
  const Shape cache{1, 1, ModelFixture::kCapacity, 1};
  FakeEngineKind kind;
  kind.tensors = {input("inputs_embeds", kFloat, {1, -1, 1}, {1, mostRows, 1}),
                  input("past_length", TensorType::kInt32, {1}, {1}),
                  input("past_key.0", kFloat, cache, cache),
                  input("w", TensorType::kInt8, {4}, {4}),
                  output("present_key.0", kFloat, cache),
                  output("logits", kFloat, {-1})};
  if (isCross) {
    kind.tensors.push_back(input("cross_key.0", kFloat, {1, 2, -1, 1}, {1, 2, 2 * ModelFixture::kMostKeys, 1}));
    kind.tensors.push_back(output("cross_query.0", kFloat, {-1, 1, 1}));
  }
  kind.scratchBytes = 1024;
  kind.shapeOf = [cache](const std::string& name, const auto& inputs) {
    const std::int64_t rows = inputs.at("inputs_embeds")[1];
    return name == "logits" ? Shape{rows} : name == "cross_query.0" ? Shape{rows, 1, 1} : cache;
  };
  kind.compute = [](const StepTensors& tensors) {
    const std::int32_t past = *tensors.at("past_length").as<std::int32_t>();
    const auto *before = tensors.at("past_key.0").as<float>(), *rows = tensors.at("inputs_embeds").as<float>();
    auto *after = tensors.at("present_key.0").as<float>(), *logits = tensors.at("logits").as<float>();
    if (after != before)
      std::copy(before, before + ModelFixture::kCapacity, after);
    float fixed = tensors.at("w").as<std::int8_t>()[0];
    if (const auto cross = tensors.find("cross_key.0"); cross != tensors.end())
      fixed += sumOf(cross->second.as<float>(), 2 * cross->second.shape[2]);
    for (std::int64_t r = 0; r < tensors.at("inputs_embeds").shape[1]; ++r) {
      after[past + r] = rows[r];
      logits[r] = fixed + sumOf(after, past + r + 1);
      if (const auto query = tensors.find("cross_query.0"); query != tensors.end())
        query->second.as<float>()[r] = 3 * rows[r];
    }
  };
  return kind;
}

Role roleOf(const TensorInfo& info) {
  if (info.name == "w")
    return Role::kWeight;
  if (info.name.rfind("past_key", 0) == 0)
    return Role::kPast;
  if (info.name.rfind("present_", 0) == 0)
    return Role::kPresent;
  if (info.name.rfind("cross_key", 0) == 0)
    return Role::kCross;
  return info.isInput ? Role::kHost : Role::kOutput;
}

} // namespace

ModelFixture::ModelFixture(bool plugins) {
  // As on a card of its own: what this machine has free is no part of the tests.
  device.editableInfo().integrated = false;
  library.device = &device;
  library.kinds = {{"vision", visionKind()},
                   {"cross-kv", crossKind()},
                   {"prefill", decoderKind(8, true)},
                   {"decode", decoderKind(2, true)},
                   {"decode-text", decoderKind(2, false)}};
  spec.name = "the test model";
  for (const auto& [name, kind] : library.kinds) {
    StageSpec stage;
    stage.name = name;
    stage.plan.name = name;
    stage.plan.path = folder.file(name + ".plan");
    stage.plan.options.graph = folder.write(name + ".onnx", name);
    stage.plan.options.plugins = plugins && name != "vision" && name != "cross-kv";
    stage.isCaptured = name == "decode" || name == "decode-text";
    std::map<std::string, Shape> most;
    for (const auto& tensor : kind.tensors)
      if (tensor.info.isInput)
        most[tensor.info.name] = tensor.max;
    for (const auto& tensor : kind.tensors)
      stage.bindings.push_back({tensor.info.name, roleOf(tensor.info), tensor.info.type, tensor.info.shape,
                                tensor.info.isInput ? tensor.max : kind.shapeOf(tensor.info.name, most)});
    spec.stages.push_back(std::move(stage));
  }
  spec.encode = {"vision", "cross-kv"};
  spec.weights = {{"w", folder.write("model.safetensors", std::string("header") + '\x07' + "abc"), 6, 4}};
  spec.imagePositions = kMostKeys;
  listener.onNotice = [this](const std::string& message) { notices.push_back(message); };
  listener.onProgress = [this](const std::string& stage, const std::string& name, const BuildProgress&) {
    stages.push_back(stage + " " + name);
  };
}

PlanCache ModelFixture::cache() {
  return PlanCache(library, PlanPlatform{"10.3.0", 12060, 8, 7, 16, "", ""});
}

std::unique_ptr<Model> ModelFixture::open(CancelFlag abort) {
  PlanCache plans = cache();
  return std::make_unique<Model>(device, plans, spec, listener, abort);
}

std::unique_ptr<ImageState> ModelFixture::encode(Model& model, const std::vector<float>& pixels, CancelFlag abort) {
  HostInputs inputs;
  inputs["pixels"] = {kFloat, {static_cast<std::int64_t>(pixels.size())}, pixels.data(), pixels.size() * 4};
  return model.encode(inputs, {}, abort);
}

std::vector<float> ModelFixture::forward(Model& model, SequenceState& sequence, int past,
                                         const std::vector<float>& rows, const std::vector<const ImageState*>& images,
                                         CancelFlag abort, const std::string& stage) {
  const std::int32_t length = past;
  std::vector<float> logits(rows.size(), -1);
  ForwardCall call;
  call.stage = !stage.empty() ? stage : images.empty() ? "decode-text" : rows.size() > 2 ? "prefill" : "decode";
  call.inputs["inputs_embeds"] = {kFloat, {1, static_cast<std::int64_t>(rows.size()), 1}, rows.data(), rows.size() * 4};
  call.inputs["past_length"] = {TensorType::kInt32, {1}, &length, 4};
  call.images = images;
  call.outputs["logits"] = {logits.data(), logits.size() * 4};
  model.forward(sequence, call, abort);
  return logits;
}

} // namespace scenebus::test
