// The vision tower of the cpu backend in int8: openCpuVision(spec, …) -> Promise, and what works on the handle that it
// returns. Typed in sdk/engine/vision/addon-types.ts. Calls run one after another on the tower's own thread.
#include <memory>
#include <vector>

#include "addon/deferredDeletion.h"
#include "addon/engine/cpuValues.h"
#include "addon/handles.h"
#include "addon/jobs.h"
#include "addon/nodeValues.h"
#include "addon/registrar.h"
#include "cpu/vision/visionTower.h"

namespace scenebus::addon {

namespace {

using namespace scenebus::cpu;

constexpr napi_type_tag kVisionTag{0x5b1f0c6e2d2a4d10, 0x9d1c8a3e11f04a04};

/** A tower and the thread that computes with it. */
struct OpenVision {
  std::unique_ptr<VisionTower> tower;    // made by the thread
  JobThreads threads{"scenebus.vision"}; // ends first
};

std::shared_ptr<JobThreads> threadsOf(const std::shared_ptr<OpenVision>& open) {
  return {open, &open->threads};
}

VisionSpec specOf(const Napi::Object& options) {
  const Napi::Object sizes = objectOf(options, "vision");
  VisionSpec spec;
  auto& vision = spec.vision;
  vision.tileSize = intOf(sizes, "tileSize");
  vision.patchSize = intOf(sizes, "patchSize");
  vision.maxNumTiles = intOf(sizes, "maxNumTiles");
  vision.hiddenSize = intOf(sizes, "hiddenSize");
  vision.attentionHeads = intOf(sizes, "attentionHeads");
  vision.intermediateSize = intOf(sizes, "intermediateSize");
  vision.localLayers = intOf(sizes, "localLayers");
  vision.globalLayers = intOf(sizes, "globalLayers");
  vision.normEps = static_cast<float>(numberOf(sizes, "normEps"));
  vision.aspectRatios = intOf(options, "aspectRatios");
  vision.tapLayers = numbersOf<int>(options, "tapLayers");
  vision.textHiddenSize = intOf(options, "textHiddenSize");
  spec.tensors = tensorSourcesOf(options);
  spec.threads = intOf(options, "threads");
  spec.instructionSet = instructionSetOf(options);
  spec.packedWeightsPath = textOf(options, "packedWeightsPath");
  spec.packedKey = textOf(options, "packedKey");
  return spec;
}

VisionPlan planOf(const Napi::Object& options) {
  VisionPlan plan;
  plan.aspectRatioId = intOf(options, "aspectRatioId");
  plan.slots = intOf(options, "slots");
  plan.realTokens = intOf(options, "realTokens");
  plan.featureTokens = intOf(options, "featureTokens");
  plan.tokenPlaces = numbersOf<int>(options, "tokenPlaces");
  plan.tokenSlots = numbersOf<int>(options, "tokenSlots");
  plan.weights = numbersOf<float>(options, "weights");
  plan.stateTokens = numbersOf<int>(options, "stateTokens");
  return plan;
}

Napi::Value describe(Napi::Env env, const std::shared_ptr<OpenVision>& open) {
  const VisionTower& tower = *open->tower;
  const bool isInMemory = tower.store().origin() == PackedStore::Origin::kInMemory;
  Napi::Object result = Napi::Object::New(env);
  result.Set("handle", makeHandle(env, open, kVisionTag, isInMemory ? tower.store().sizeBytes() : 0));
  result.Set("instructionSet", std::string(instructionSetName(tower.instructionSet())));
  result.Set("threads", tower.threadCount());
  result.Set("packed", originName(&tower.store()));
  result.Set("packedSizeBytes", static_cast<double>(tower.store().sizeBytes()));
  return result;
}

/** openCpuVision(spec, abort, onProgress(doneBytes, totalBytes)) -> Promise<{ handle, … }> */
Napi::Value openCpuVision(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsObject() || !info[2].IsFunction())
    throw Napi::TypeError::New(env, "Expected openCpuVision(spec, abort, onProgress)");
  const auto spec = std::make_shared<VisionSpec>(specOf(info[0].As<Napi::Object>()));
  const auto onProgress = std::make_shared<JsCallback>(env, info[2].As<Napi::Function>());
  const auto open = deferredDeleter().keep(std::make_shared<OpenVision>());
  return Jobs::of(env).start(
      threadsOf(open), requireFlag(info[1]),
      [spec, onProgress, open](CancelFlag cancel) {
        open->tower = std::make_unique<VisionTower>(*spec, cancel, [&](std::uint64_t done, std::uint64_t total) {
          onProgress->call([done, total](Napi::Env env) -> std::vector<napi_value> {
            return {Napi::Number::New(env, static_cast<double>(done)),
                    Napi::Number::New(env, static_cast<double>(total))};
          });
        });
      },
      [open](Napi::Env env) { return describe(env, open); }, {info[1]});
}

/** encodeCpuVision(vision, pixels, plan, states, abort) -> Promise<void> */
Napi::Value encodeCpuVision(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto open = requireHandle<OpenVision>(info[0], kVisionTag);
  const auto pixels = requireFloats(info[1]);
  if (!info[2].IsObject())
    throw Napi::TypeError::New(env, "Expected encodeCpuVision(vision, pixels, plan, states, abort)");
  const auto plan = std::make_shared<VisionPlan>(planOf(info[2].As<Napi::Object>()));
  auto states = requireFloats(info[3]);
  const auto& vision = open->tower->spec().vision;
  const std::size_t tilePixels = static_cast<std::size_t>(3) * vision.tileSize * vision.tileSize;
  if (plan->slots <= 0 || pixels.ElementLength() != static_cast<std::size_t>(plan->slots) * tilePixels ||
      states.ElementLength() != plan->stateTokens.size() * static_cast<std::size_t>(vision.textHiddenSize))
    throw Napi::TypeError::New(env, "Expected the pixels of every slot and room for every state");
  const float* in = pixels.Data();
  float* out = states.Data();
  return Jobs::of(env).start(threadsOf(open), requireFlag(info[4]),
                             [=](CancelFlag cancel) { open->tower->encode(in, *plan, out, cancel); }, nothing,
                             {info[1], info[3], info[4]});
}

/** releaseCpuVision(vision): frees the tower soon, or after the call that uses it. Idempotent. */
Napi::Value releaseCpuVision(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "Expected a vision tower of the cpu backend");
  releaseHandle<OpenVision>(info[0], kVisionTag);
  return info.Env().Undefined();
}

void registerVision(Napi::Env env, Napi::Object exports) {
  exports.Set("openCpuVision", Napi::Function::New(env, openCpuVision));
  exports.Set("encodeCpuVision", Napi::Function::New(env, encodeCpuVision));
  exports.Set("releaseCpuVision", Napi::Function::New(env, releaseCpuVision));
}

const Registrar kRegistrar{registerVision};

} // namespace
} // namespace scenebus::addon
