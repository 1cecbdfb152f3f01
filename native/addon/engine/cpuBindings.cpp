// The cpu backend: cpuFeatures(), openCpuDecoder(spec, …) -> Promise, and what works on the handles that they return.
// Typed in sdk/engine/cpu/addon-types.ts. Every call that computes runs on the decoder's own thread.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/deferredDeletion.h"
#include "addon/engine/cpuValues.h"
#include "addon/handles.h"
#include "addon/jobs.h"
#include "addon/nodeValues.h"
#include "addon/registrar.h"
#include "cpu/decoder/decoder.h"

namespace scenebus::addon {

namespace {

using namespace scenebus::cpu;

// --- handles ---------------------------------------------------------------------------------------------------

constexpr napi_type_tag kDecoderTag{0x5b1f0c6e2d2a4d10, 0x9d1c8a3e11f04a01};
constexpr napi_type_tag kSequenceTag{0x5b1f0c6e2d2a4d10, 0x9d1c8a3e11f04a02};
constexpr napi_type_tag kImageTag{0x5b1f0c6e2d2a4d10, 0x9d1c8a3e11f04a03};

/** A decoder and the thread that computes with it: calls run in the order in which they were made. */
struct OpenDecoder {
  std::unique_ptr<Decoder> decoder;   // made by the thread
  JobThreads threads{"scenebus.cpu"}; // ends first
};

/** Keeps the decoder with its thread. */
std::shared_ptr<JobThreads> threadsOf(const std::shared_ptr<OpenDecoder>& open) {
  return {open, &open->threads};
}

// --- arguments -------------------------------------------------------------------------------------------------

TextArchitecture architectureOf(const Napi::Object& text) {
  TextArchitecture result;
  result.hiddenSize = intOf(text, "hiddenSize");
  result.layers = intOf(text, "layers");
  result.crossAttentionLayers = numbersOf<int>(text, "crossAttentionLayers");
  result.attentionHeads = intOf(text, "attentionHeads");
  result.keyValueHeads = intOf(text, "keyValueHeads");
  result.headDim = intOf(text, "headDim");
  result.intermediateSize = intOf(text, "intermediateSize");
  result.rmsNormEps = static_cast<float>(numberOf(text, "rmsNormEps"));
  result.ropeTheta = numberOf(text, "ropeTheta");
  result.vocabularySize = intOf(text, "vocabularySize");
  result.embeddingRows = intOf(text, "embeddingRows");
  if (text.Get("ropeScaling").IsObject()) {
    const Napi::Object scaling = objectOf(text, "ropeScaling");
    result.ropeScaling =
        RopeScaling{numberOf(scaling, "factor"), numberOf(scaling, "lowFreqFactor"),
                    numberOf(scaling, "highFreqFactor"), numberOf(scaling, "originalMaxPositionEmbeddings")};
  }
  return result;
}

CacheType cacheTypeOf(const Napi::Object& options) {
  const std::string name = textOf(options, "keyValueType");
  if (name == "f32")
    return CacheType::kF32;
  if (name == "f16")
    return CacheType::kF16;
  if (name == "int8")
    return CacheType::kI8;
  throw Napi::TypeError::New(options.Env(), "Expected keyValueType f32, f16 or int8 but received " + name);
}

DecoderSpec specOf(const Napi::Object& options) {
  DecoderSpec spec;
  spec.text = architectureOf(objectOf(options, "text"));
  spec.tensors = tensorSourcesOf(options);
  spec.maskedTokensAttend = options.Get("maskedTokensAttend").ToBoolean();
  spec.contextLength = intOf(options, "contextLength");
  spec.threads = intOf(options, "threads");
  spec.packedWeightsPath = textOf(options, "packedWeightsPath");
  spec.packedKey = textOf(options, "packedKey");
  spec.keyValueType = cacheTypeOf(options);
  spec.instructionSet = instructionSetOf(options);
  return spec;
}

// --- calls -----------------------------------------------------------------------------------------------------

/** cpuFeatures() -> { instructionSets, processor, physicalCores } */
Napi::Value cpuFeatures(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto sets = availableInstructionSets();
  Napi::Array names = Napi::Array::New(env, sets.size());
  for (std::uint32_t i = 0; i < sets.size(); ++i)
    names.Set(i, std::string(instructionSetName(sets[i])));
  Napi::Object features = Napi::Object::New(env);
  features.Set("instructionSets", names);
  features.Set("processor", processorName());
  features.Set("physicalCores", physicalCoreCount());
  return features;
}

Napi::Value describeDecoder(Napi::Env env, const std::shared_ptr<OpenDecoder>& open) {
  const Decoder& decoder = *open->decoder;
  Napi::Object result = Napi::Object::New(env);
  result.Set("handle", makeHandle(env, open, kDecoderTag, decoder.memoryBytes()));
  result.Set("instructionSet", std::string(instructionSetName(decoder.instructionSet())));
  result.Set("threads", decoder.threadCount());
  result.Set("packed", originName(decoder.weights().store()));
  result.Set("linearSizeBytes", static_cast<double>(decoder.weights().linearSizeBytes()));
  return result;
}

/** openCpuDecoder(spec, abort, onProgress(doneBytes, totalBytes)) -> Promise<{ handle, … }> */
Napi::Value openCpuDecoder(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsObject() || !info[2].IsFunction())
    throw Napi::TypeError::New(env, "Expected openCpuDecoder(spec, abort, onProgress)");
  const auto spec = std::make_shared<DecoderSpec>(specOf(info[0].As<Napi::Object>()));
  const auto onProgress = std::make_shared<JsCallback>(env, info[2].As<Napi::Function>());
  const auto open = deferredDeleter().keep(std::make_shared<OpenDecoder>());
  return Jobs::of(env).start(
      threadsOf(open), requireFlag(info[1]),
      [spec, onProgress, open](CancelFlag cancel) {
        open->decoder = std::make_unique<Decoder>(*spec, cancel, [&](std::uint64_t done, std::uint64_t total) {
          onProgress->call([done, total](Napi::Env env) -> std::vector<napi_value> {
            return {Napi::Number::New(env, static_cast<double>(done)),
                    Napi::Number::New(env, static_cast<double>(total))};
          });
        });
      },
      [open](Napi::Env env) { return describeDecoder(env, open); }, {info[1]});
}

/** createCpuSequence(decoder) -> handle */
Napi::Value createCpuSequence(const Napi::CallbackInfo& info) {
  try {
    const auto open = requireHandle<OpenDecoder>(info[0], kDecoderTag);
    auto sequence = deferredDeleter().keep(std::shared_ptr<Sequence>(open->decoder->createSequence()));
    return makeHandle(info.Env(), std::move(sequence), kSequenceTag, 0);
  } catch (const std::bad_alloc&) {
    throw jsError(info.Env(), {"ERR_ENGINE_OUT_OF_MEMORY",
                               "not enough address space for the context; choose a shorter contextLength"});
  }
}

/** encodeCpuImage(decoder, features [positions, hidden], visible, abort) -> Promise<{ handle, sizeBytes }> */
Napi::Value encodeCpuImage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto open = requireHandle<OpenDecoder>(info[0], kDecoderTag);
  const auto features = requireFloats(info[1]);
  const std::size_t hidden = static_cast<std::size_t>(open->decoder->spec().text.hiddenSize);
  if (!info[2].IsNumber() || features.ElementLength() == 0 || features.ElementLength() % hidden != 0)
    throw Napi::TypeError::New(env, "Expected encodeCpuImage(decoder, features, visible, abort)");
  const int positions = static_cast<int>(features.ElementLength() / hidden);
  const int visible = info[2].As<Napi::Number>().Int32Value();
  const float* data = features.Data();
  const auto keys = std::make_shared<std::shared_ptr<const ImageKeys>>();
  return Jobs::of(env).start(
      threadsOf(open), requireFlag(info[3]),
      [=](CancelFlag cancel) {
        *keys = deferredDeleter().keep(open->decoder->encodeKeys(data, positions, visible, cancel));
      },
      [keys](Napi::Env env) {
        const std::size_t sizeBytes = (*keys)->cache.sizeBytes();
        Napi::Object result = Napi::Object::New(env);
        result.Set("sizeBytes", static_cast<double>(sizeBytes));
        result.Set("handle", makeHandle(env, *keys, kImageTag, sizeBytes));
        return result;
      },
      {info[1], info[3]});
}

/** { layers, heads, tokens: Int32Array, weights: Float32Array }; nullptr for undefined. `weights` live with `value`. */
std::shared_ptr<AttentionTaps> tapsOf(const Napi::Value& value, const TextArchitecture& text, std::size_t tokenCount,
                                      const std::vector<PlacedImage>& images) {
  if (!value.IsObject())
    return nullptr;
  const auto object = value.As<Napi::Object>();
  const auto layers = requireInts(object.Get("layers")), heads = requireInts(object.Get("heads"));
  const auto tokens = requireInts(object.Get("tokens"));
  auto weights = requireFloats(object.Get("weights"));
  auto taps = std::make_shared<AttentionTaps>();
  for (const auto& image : images)
    taps->positions += image.keys->visible;
  const auto& cross = text.crossAttentionLayers;
  bool isSound = layers.ElementLength() == heads.ElementLength();
  for (std::size_t i = 0; isSound && i < layers.ElementLength(); ++i) {
    isSound = std::find(cross.begin(), cross.end(), layers[i]) != cross.end() && heads[i] >= 0 &&
              heads[i] < text.attentionHeads;
    taps->heads.push_back({layers[i], heads[i]});
  }
  for (std::size_t i = 0; isSound && i < tokens.ElementLength(); ++i) {
    isSound = tokens[i] >= 0 && static_cast<std::size_t>(tokens[i]) < tokenCount;
    taps->tokens.push_back(tokens[i]);
  }
  const std::size_t size = taps->heads.size() * taps->tokens.size() * static_cast<std::size_t>(taps->positions);
  if (!isSound || weights.ElementLength() != size)
    throw Napi::TypeError::New(value.Env(),
                               "Expected taps of heads in cross layers and of tokens of the call, and room "
                               "for " +
                                   std::to_string(size) + " weights");
  taps->weights = weights.Data();
  std::fill_n(taps->weights, size, 0.0f);
  return taps;
}

LogitsOf requireLogitsOf(const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "none")
    return LogitsOf::kNone;
  if (name == "last")
    return LogitsOf::kLast;
  if (name == "all")
    return LogitsOf::kAll;
  throw Napi::TypeError::New(value.Env(), "Expected logits of none, last or all");
}

std::vector<PlacedImage> requireImages(const Napi::Value& value, const Napi::Value& tokenIndices) {
  if (!value.IsArray())
    throw Napi::TypeError::New(value.Env(), "Expected images as an array");
  const auto handles = value.As<Napi::Array>();
  const auto indices = requireInts(tokenIndices);
  if (handles.Length() != indices.ElementLength())
    throw Napi::TypeError::New(value.Env(), "Expected as many token indices as images");
  std::vector<PlacedImage> images;
  for (std::uint32_t i = 0; i < handles.Length(); ++i)
    images.push_back({requireHandle<const ImageKeys>(handles.Get(i), kImageTag), indices[i]});
  return images;
}

/** forwardCpu(decoder, sequence, tokens, images, tokenIndices, logitsOf, logits, abort, taps?) -> Promise<void> */
Napi::Value forwardCpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto open = requireHandle<OpenDecoder>(info[0], kDecoderTag);
  const auto sequence = requireHandle<Sequence>(info[1], kSequenceTag);
  const auto tokens = requireInts(info[2]);
  const auto images = requireImages(info[3], info[4]);
  const LogitsOf logitsOf = requireLogitsOf(info[5]);
  auto logits = requireFloats(info[6]);
  const std::size_t logitsRows = logitsOf == LogitsOf::kNone  ? 0
                                 : logitsOf == LogitsOf::kAll ? tokens.ElementLength()
                                                              : 1;
  if (logits.ElementLength() != logitsRows * static_cast<std::size_t>(open->decoder->spec().text.vocabularySize))
    throw Napi::TypeError::New(env, "Expected room for " + std::to_string(logitsRows) + " logits rows");
  // Copied: a caller may reuse its array while the call runs.
  const std::vector<std::int32_t> ids(tokens.Data(), tokens.Data() + tokens.ElementLength());
  float* out = logits.Data();
  const auto taps = tapsOf(info[8], open->decoder->spec().text, ids.size(), images);
  // A cache takes memory as it fills, and keeps it when the sequence is cut short.
  const auto bytes = handleOf<Sequence>(info[1], kSequenceTag).bytes;
  const auto usedBytes = std::make_shared<std::size_t>(0);
  std::vector<Napi::Value> held{info[6], info[7]};
  if (taps != nullptr)
    held.push_back(info[8].As<Napi::Object>().Get("weights"));
  return Jobs::of(env).start(
      threadsOf(open), requireFlag(info[7]),
      [=](CancelFlag cancel) {
        open->decoder->forward(*sequence, ids.data(), static_cast<int>(ids.size()), images, logitsOf, out, cancel,
                               taps.get());
        *usedBytes = sequence->cache.usedBytes(sequence->length);
      },
      [bytes, usedBytes](Napi::Env env) {
        bytes->grow(*usedBytes);
        return env.Undefined();
      },
      held);
}

/** branchCpu(decoder, sequence, tokens, lengths, images, tokenIndices, logits, abort) -> Promise<void> */
Napi::Value branchCpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto open = requireHandle<OpenDecoder>(info[0], kDecoderTag);
  const auto sequence = requireHandle<Sequence>(info[1], kSequenceTag);
  const auto tokens = requireInts(info[2]), counts = requireInts(info[3]);
  const auto images = requireImages(info[4], info[5]);
  auto logits = requireFloats(info[6]);
  const std::vector<std::int32_t> ids(tokens.Data(), tokens.Data() + tokens.ElementLength());
  const std::vector<int> lengths(counts.Data(), counts.Data() + counts.ElementLength());
  const std::size_t size = ids.size() * static_cast<std::size_t>(open->decoder->spec().text.vocabularySize);
  std::size_t sum = 0;
  for (const int length : lengths)
    sum += static_cast<std::size_t>(std::max(length, 0));
  if (sum != ids.size() || logits.ElementLength() != size)
    throw Napi::TypeError::New(env, "Expected lengths that add up to the tokens, and room for their logits");
  float* out = logits.Data();
  const auto bytes = handleOf<Sequence>(info[1], kSequenceTag).bytes;
  const auto usedBytes = std::make_shared<std::size_t>(0);
  return Jobs::of(env).start(
      threadsOf(open), requireFlag(info[7]),
      [=](CancelFlag cancel) {
        open->decoder->branch(*sequence, ids.data(), lengths, images, out, cancel);
        *usedBytes = sequence->cache.usedBytes(Decoder::branchSlots(sequence->length, lengths));
      },
      [bytes, usedBytes](Napi::Env env) {
        bytes->grow(*usedBytes);
        return env.Undefined();
      },
      {info[6], info[7]});
}

/** truncateCpuSequence(sequence, length); not while a call works with the sequence. */
Napi::Value truncateCpuSequence(const Napi::CallbackInfo& info) {
  const auto sequence = requireHandle<Sequence>(info[0], kSequenceTag);
  const int length = info[1].IsNumber() ? info[1].As<Napi::Number>().Int32Value() : -1;
  if (length < 0 || length > sequence->length)
    throw Napi::TypeError::New(info.Env(), "Expected a length of 0 to " + std::to_string(sequence->length));
  sequence->length = length;
  return info.Env().Undefined();
}

/** releaseCpuHandle(handle): frees the object soon, or after the call that uses it. Idempotent. */
Napi::Value releaseCpuHandle(const Napi::CallbackInfo& info) {
  const Napi::Value value = info[0];
  if (!value.IsExternal())
    throw Napi::TypeError::New(info.Env(), "Expected a handle of the cpu backend");
  const auto tagged = value.As<Napi::External<void>>();
  if (tagged.CheckTypeTag(&kDecoderTag))
    releaseHandle<OpenDecoder>(value, kDecoderTag);
  else if (tagged.CheckTypeTag(&kSequenceTag))
    releaseHandle<Sequence>(value, kSequenceTag);
  else
    releaseHandle<const ImageKeys>(value, kImageTag);
  return info.Env().Undefined();
}

void registerCpu(Napi::Env env, Napi::Object exports) {
  exports.Set("cpuFeatures", Napi::Function::New(env, cpuFeatures));
  exports.Set("openCpuDecoder", Napi::Function::New(env, openCpuDecoder));
  exports.Set("createCpuSequence", Napi::Function::New(env, createCpuSequence));
  exports.Set("encodeCpuImage", Napi::Function::New(env, encodeCpuImage));
  exports.Set("forwardCpu", Napi::Function::New(env, forwardCpu));
  exports.Set("branchCpu", Napi::Function::New(env, branchCpu));
  exports.Set("truncateCpuSequence", Napi::Function::New(env, truncateCpuSequence));
  exports.Set("releaseCpuHandle", Napi::Function::New(env, releaseCpuHandle));
}

const Registrar kRegistrar{registerCpu};

} // namespace
} // namespace scenebus::addon
