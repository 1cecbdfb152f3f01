// The tensorrt backend: plans, models, images, sequences. Typed in sdk/engine/tensorrt/addon-types.ts. Everything with a
// model runs on the model's own thread, and so does opening it; a plan is built on a thread for it alone.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/deferredDeletion.h"
#include "addon/handles.h"
#include "addon/jobs.h"
#include "addon/nodeValues.h"
#include "addon/registrar.h"
#include "addon/engine/tensorrtValues.h"
#include "tensorrt/runtime/memoryForecast.h"
#include "tensorrt/runtime/modelHost.h"
#include "tensorrt/runtime/runtime.h"
#include "tensorrt/plan/systemFacts.h"

namespace scenebus::addon {

namespace {

using namespace scenebus::tensorrt;

using HeldSequence = Held<SequenceState>;
using HeldImage = Held<ImageState>;

constexpr napi_type_tag kModelTag{0x7c9a2be04f1d4e33, 0xa6b3f1d20c884b01};
constexpr napi_type_tag kSequenceTag{0x7c9a2be04f1d4e33, 0xa6b3f1d20c884b02};
constexpr napi_type_tag kImageTag{0x7c9a2be04f1d4e33, 0xa6b3f1d20c884b03};

Napi::Value textOrNull(Napi::Env env, const std::string& text) {
  return text.empty() ? env.Null() : Napi::Value(Napi::String::New(env, text));
}

Napi::Object deviceValue(Napi::Env env, cuda::Device& device) {
  device.makeCurrent();
  const auto& info = device.info();
  Napi::Object value = Napi::Object::New(env);
  value.Set("name", info.name);
  value.Set("smMajor", info.smMajor);
  value.Set("smMinor", info.smMinor);
  value.Set("smCount", info.smCount);
  value.Set("totalBytes", static_cast<double>(info.totalBytes));
  value.Set("freeBytes", static_cast<double>(availableDeviceBytes(device)));
  value.Set("driverVersion", info.driverVersion);
  value.Set("integrated", info.integrated);
  value.Set("hasKernels", device.hasKernels());
  return value;
}

/** tensorRtStatus(): never throws; `problem` is the first obstacle. */
Napi::Value tensorRtStatus(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object status = Napi::Object::New(env);
  status.Set("compiledFor", textOrNull(env, compiledFor()));
  status.Set("library", env.Null());
  status.Set("device", env.Null());
  status.Set("l4tRelease", textOrNull(env, l4tRelease()));
  status.Set("powerMode", textOrNull(env, powerMode()));
  status.Set("problem", env.Null());
  const auto attempt = [&](const auto& work) {
    try {
      work();
    } catch (...) {
      const Failure failure = currentFailure();
      if (!status.Get("problem").IsNull())
        return;
      Napi::Object problem = Napi::Object::New(env);
      problem.Set("code", failure.code);
      problem.Set("message", failure.message);
      status.Set("problem", problem);
    }
  };
  attempt([&] {
    const LoadedLibraries libraries = installedLibraries();
    Napi::Object library = Napi::Object::New(env);
    library.Set("path", libraries.path);
    library.Set("version", libraries.version.text());
    status.Set("library", library);
  });
  // A device is worth knowing about where TensorRT is missing, too.
  attempt([&] { status.Set("device", deviceValue(env, processDevice())); });
  attempt([&] { inferenceLibrary(); });
  return status;
}

/** The caller's `onProgress`. An open model keeps it for notices, which does not keep the process from ending. */
class Listener {
 public:
  Listener(Napi::Env env, const Napi::Value& function) : mFunction(env, function.As<Napi::Function>()) {}

  void progress(const std::string& stage, const std::string& name, const BuildProgress& progress) const {
    mFunction.call([stage, name, progress](Napi::Env env) -> std::vector<napi_value> {
      Napi::Object value = Napi::Object::New(env);
      value.Set("kind", "progress");
      value.Set("stage", stage);
      value.Set("name", name);
      value.Set("phase", progress.phase);
      value.Set("done", progress.done);
      value.Set("total", progress.total);
      return {value};
    });
  }

  void notice(const std::string& message) const {
    mFunction.call([message](Napi::Env env) -> std::vector<napi_value> {
      Napi::Object value = Napi::Object::New(env);
      value.Set("kind", "notice");
      value.Set("message", message);
      return {value};
    });
  }

 private:
  JsCallback mFunction;
};

/** Of a call `usage`, which takes an object, the listener and a flag. */
std::shared_ptr<Listener> listenerOf(const Napi::CallbackInfo& info, const char* usage) {
  if (info.Length() < 3 || !info[0].IsObject() || !info[1].IsFunction())
    throw Napi::TypeError::New(info.Env(), std::string("Expected ") + usage);
  return std::make_shared<Listener>(info.Env(), info[1]);
}

/** buildTensorRtPlan(request, onProgress, abort) -> Promise<{ path, origin, … }> */
Napi::Value buildTensorRtPlan(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto heard = listenerOf(info, "buildTensorRtPlan(request, onProgress, abort)");
  const PlanRequest request = planRequestOf(info[0].As<Napi::Object>());
  const auto file = std::make_shared<PlanFile>();
  return Jobs::of(env).start(
      std::make_shared<JobThreads>("scenebus.build"), requireFlag(info[2]),
      [request, file, heard](CancelFlag cancel) {
        InferenceLibrary& library = inferenceLibrary();
        cuda::Device& device = processDevice();
        device.makeCurrent();
        PlanCache cache(library, currentPlatform(library, device));
        PlanListener listener;
        listener.onProgress = [&](const BuildProgress& progress) { heard->progress("build", request.name, progress); };
        listener.onWait = [&] { heard->progress("wait", request.name, {}); };
        listener.onNotice = [&](const std::string& message) { heard->notice(message); };
        *file = cache.ensure(request, listener, cancel);
      },
      [file](Napi::Env env) { return planFileValue(env, *file); }, {info[2]});
}

/** Keeps the model with its thread. */
std::shared_ptr<JobThreads> threadOf(const std::shared_ptr<ModelHost>& host) { return {host, &host->thread()}; }

Napi::Value openedModelValue(Napi::Env env, const std::shared_ptr<ModelHost>& host) {
  Napi::Object value = Napi::Object::New(env);
  Napi::Array plans = Napi::Array::New(env);
  for (const auto& file : host->model().planFiles())
    plans.Set(plans.Length(), planFileValue(env, file));
  value.Set("plans", plans);
  const MemoryUse& use = host->model().memory();
  Napi::Object memory = Napi::Object::New(env);
  memory.Set("weights", static_cast<double>(use.weights));
  memory.Set("plans", static_cast<double>(use.plans));
  memory.Set("keyValues", static_cast<double>(use.keyValues));
  memory.Set("images", static_cast<double>(use.images));
  memory.Set("scratch", static_cast<double>(use.scratch));
  memory.Set("bindings", static_cast<double>(use.bindings));
  value.Set("memory", memory);
  // Sequences and images count their own.
  value.Set("handle", makeHandle(env, host, kModelTag, use.weights + use.plans + use.scratch + use.bindings));
  return value;
}

/** openTensorRtModel(spec, onProgress, abort) -> Promise<{ handle, plans, memory }> */
Napi::Value openTensorRtModel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto heard = listenerOf(info, "openTensorRtModel(spec, onProgress, abort)");
  const auto spec = std::make_shared<ModelSpec>(modelSpecOf(info[0].As<Napi::Object>()));
  const auto host = deferredDeleter().keep(std::make_shared<ModelHost>());
  return Jobs::of(env).start(
      threadOf(host), requireFlag(info[2]),
      [spec, host, heard](CancelFlag cancel) {
        InferenceLibrary& library = inferenceLibrary();
        cuda::Device& device = processDevice();
        PlanCache cache(library, currentPlatform(library, device));
        OpenListener listener;
        listener.onProgress = [heard](const std::string& stage, const std::string& name,
                                      const BuildProgress& progress) { heard->progress(stage, name, progress); };
        listener.onNotice = [heard](const std::string& message) { heard->notice(message); };
        host->open(device, cache, std::move(*spec), listener, cancel);
      },
      [host](Napi::Env env) { return openedModelValue(env, host); }, {info[2]});
}

/** encodeTensorRtImage(model, inputs, outputs, abort) -> Promise<{ handle, sizeBytes, positions }> */
Napi::Value encodeTensorRtImage(const Napi::CallbackInfo& info) {
  const auto host = requireHandle<ModelHost>(info[0], kModelTag);
  std::vector<Napi::Value> held{info[3]};
  const HostInputs inputs = hostInputsOf(info[1], held);
  const HostOutputs outputs = hostOutputsOf(info[2], held);
  const auto image = std::make_shared<HeldImage>(host);
  return Jobs::of(info.Env()).start(
      threadOf(host), requireFlag(info[3]),
      [=](CancelFlag cancel) { image->state = host->model().encode(inputs, outputs, cancel); },
      [image](Napi::Env env) {
        Napi::Object value = Napi::Object::New(env);
        value.Set("sizeBytes", static_cast<double>(image->state->sizeBytes));
        value.Set("positions", static_cast<double>(image->state->positions));
        value.Set("handle", makeHandle(env, image, kImageTag, image->state->sizeBytes));
        return value;
      },
      held);
}

/** createTensorRtSequence(model) -> handle */
Napi::Value createTensorRtSequence(const Napi::CallbackInfo& info) {
  const auto host = requireHandle<ModelHost>(info[0], kModelTag);
  return makeHandle(info.Env(), std::make_shared<HeldSequence>(host), kSequenceTag, 0);
}

/** forwardTensorRt(model, sequence, { stage, inputs, images, outputs }, abort) -> Promise<{ keyValueCopies }> */
Napi::Value forwardTensorRt(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = requireHandle<ModelHost>(info[0], kModelTag);
  const auto sequence = requireHandle<HeldSequence>(info[1], kSequenceTag);
  if (!info[2].IsObject())
    throw Napi::TypeError::New(env, "Expected forwardTensorRt(model, sequence, call, abort)");
  const auto object = info[2].As<Napi::Object>();
  std::vector<Napi::Value> held{info[3]};
  ForwardCall call;
  call.stage = textOf(object, "stage");
  call.inputs = hostInputsOf(object.Get("inputs"), held);
  call.outputs = hostOutputsOf(object.Get("outputs"), held);
  const Napi::Object handles = objectOf(object, "images");
  if (!handles.IsArray())
    throw Napi::TypeError::New(env, "Expected images as an array");
  std::vector<std::shared_ptr<HeldImage>> images;
  for (std::uint32_t i = 0; i < handles.As<Napi::Array>().Length(); ++i) {
    images.push_back(requireHandle<HeldImage>(handles.Get(i), kImageTag));
    if (images.back()->host() != host)
      throw Napi::TypeError::New(env, "Expected images of the same model");
  }
  if (sequence->host() != host)
    throw Napi::TypeError::New(env, "Expected a sequence of the same model");
  // Its memory is taken with the first step.
  const auto bytes = handleOf<HeldSequence>(info[1], kSequenceTag).bytes;
  const auto copies = std::make_shared<std::uint64_t>(0);
  // Handles are kept until the promise settles: letting go of the last one must not happen on the model's thread.
  return Jobs::of(env).start(
      threadOf(host), requireFlag(info[3]),
      [=](CancelFlag cancel) {
        Model& model = host->model();
        if (!sequence->state)
          sequence->state = model.createSequence();
        ForwardCall withImages = call;
        for (const auto& image : images)
          withImages.images.push_back(image->state.get());
        model.forward(*sequence->state, withImages, cancel);
        *copies = model.keyValueCopies();
      },
      [bytes, host, copies](Napi::Env env) -> Napi::Value {
        bytes->grow(host->model().sequenceBytes());
        Napi::Object value = Napi::Object::New(env);
        value.Set("keyValueCopies", static_cast<double>(*copies));
        return value;
      },
      held);
}

/** releaseTensorRtHandle(handle) */
Napi::Value releaseTensorRtHandle(const Napi::CallbackInfo& info) {
  const Napi::Value value = info[0];
  if (!value.IsExternal())
    throw Napi::TypeError::New(info.Env(), "Expected a handle of this backend");
  const auto tagged = value.As<Napi::External<void>>();
  if (tagged.CheckTypeTag(&kModelTag))
    releaseHandle<ModelHost>(value, kModelTag);
  else if (tagged.CheckTypeTag(&kSequenceTag))
    releaseHandle<HeldSequence>(value, kSequenceTag);
  else
    releaseHandle<HeldImage>(value, kImageTag);
  return info.Env().Undefined();
}

void registerTensorRt(Napi::Env env, Napi::Object exports) {
  exports.Set("tensorRtStatus", Napi::Function::New(env, tensorRtStatus));
  exports.Set("buildTensorRtPlan", Napi::Function::New(env, buildTensorRtPlan));
  exports.Set("openTensorRtModel", Napi::Function::New(env, openTensorRtModel));
  exports.Set("encodeTensorRtImage", Napi::Function::New(env, encodeTensorRtImage));
  exports.Set("createTensorRtSequence", Napi::Function::New(env, createTensorRtSequence));
  exports.Set("forwardTensorRt", Napi::Function::New(env, forwardTensorRt));
  exports.Set("releaseTensorRtHandle", Napi::Function::New(env, releaseTensorRtHandle));
}

const Registrar kRegistrar{registerTensorRt};

} // namespace
} // namespace scenebus::addon
