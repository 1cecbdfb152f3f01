#include "addon/engine/cpuValues.h"

#include "addon/nodeValues.h"

#include <string>
#include <utility>

namespace scenebus::addon {

using namespace scenebus::cpu;

namespace {

TensorType tensorTypeOf(const std::string& name) {
  if (name == "F32")
    return TensorType::kF32;
  if (name == "F16")
    return TensorType::kF16;
  if (name == "BF16")
    return TensorType::kBf16;
  if (name == "I8")
    return TensorType::kI8;
  if (name == "I32")
    return TensorType::kI32;
  return TensorType::kOther;
}

} // namespace

TensorSources tensorSourcesOf(const Napi::Object& options) {
  TensorSources result;
  const Napi::Object list = objectOf(options, "tensors");
  if (!list.IsArray())
    throw Napi::TypeError::New(options.Env(), "Expected tensors as an array");
  const auto tensors = list.As<Napi::Array>();
  for (std::uint32_t i = 0; i < tensors.Length(); ++i) {
    const Napi::Value entry = tensors.Get(i);
    if (!entry.IsObject())
      throw Napi::TypeError::New(options.Env(), "Expected tensors as objects");
    const auto tensor = entry.As<Napi::Object>();
    TensorSource source;
    source.file = textOf(tensor, "file");
    source.offsetBytes = static_cast<std::uint64_t>(numberOf(tensor, "offsetBytes"));
    source.sizeBytes = static_cast<std::uint64_t>(numberOf(tensor, "sizeBytes"));
    source.type = tensorTypeOf(textOf(tensor, "dtype"));
    source.shape = numbersOf<std::int64_t>(tensor, "shape");
    result.emplace(textOf(tensor, "name"), std::move(source));
  }
  return result;
}

std::optional<InstructionSet> instructionSetOf(const Napi::Object& options) {
  std::optional<InstructionSet> found;
  const std::string set = textOf(options, "instructionSet");
  if (!set.empty()) {
    found = parseInstructionSet(set);
    if (!found)
      throw Napi::TypeError::New(options.Env(), "Unknown instruction set " + set);
  }
  return found;
}

const char* originName(const PackedStore* store) {
  if (store == nullptr)
    return "none";
  switch (store->origin()) {
  case PackedStore::Origin::kFound:
    return "found";
  case PackedStore::Origin::kCreated:
    return "created";
  case PackedStore::Origin::kReplaced:
    return "replaced";
  default:
    return "memory";
  }
}

} // namespace scenebus::addon
