#include "addon/engine/tensorrtValues.h"

#include "addon/nodeValues.h"

#include <string>

namespace scenebus::addon {
namespace {

using namespace scenebus::tensorrt;

[[noreturn]] void expected(Napi::Env env, const std::string& what) {
  throw Napi::TypeError::New(env, "Expected " + what);
}

std::uint64_t bytesOf(const Napi::Object& object, const char* name) {
  const double value = numberOf(object, name);
  if (!(value >= 0 && value <= 9007199254740991.0))
    expected(object.Env(), std::string(name) + " as a number of bytes");
  return static_cast<std::uint64_t>(value);
}

template <typename Use> void forEachObject(const Napi::Object& object, const char* name, const Use& use) {
  const Napi::Object list = objectOf(object, name);
  if (!list.IsArray())
    expected(object.Env(), std::string(name) + " as an array");
  const auto array = list.As<Napi::Array>();
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value entry = array.Get(i);
    if (!entry.IsObject())
      expected(object.Env(), std::string(name) + " as objects");
    use(entry.As<Napi::Object>());
  }
}

TensorType typeOf(const Napi::Object& object) {
  const std::string name = textOf(object, "type");
  const auto type = typeNamed(name);
  if (!type)
    expected(object.Env(), "the type of a tensor but received " + name);
  return *type;
}

/** A text is a dimension that the call decides. */
Shape openShapeOf(const Napi::Object& object) {
  const Napi::Object list = objectOf(object, "shape");
  if (!list.IsArray())
    expected(object.Env(), "shape as an array");
  const auto array = list.As<Napi::Array>();
  Shape shape;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value side = array.Get(i);
    if (!side.IsNumber() && !side.IsString())
      expected(object.Env(), "numbers and names in shape");
    shape.push_back(side.IsNumber() ? side.As<Napi::Number>().Int64Value() : -1);
  }
  return shape;
}

Role roleOf(const Napi::Object& binding) {
  const std::string name = textOf(binding, "role");
  const std::pair<const char*, Role> roles[] = {{"host", Role::kHost},       {"past", Role::kPast},
                                                {"present", Role::kPresent}, {"cross", Role::kCross},
                                                {"weight", Role::kWeight},   {"output", Role::kOutput}};
  for (const auto& [known, role] : roles)
    if (name == known)
      return role;
  expected(binding.Env(), "a role of a binding but received " + name);
}

napi_typedarray_type arrayTypeOf(TensorType type) {
  switch (type) {
  case TensorType::kFloat32:
    return napi_float32_array;
  case TensorType::kFloat16:
  case TensorType::kBfloat16:
    return napi_uint16_array;
  case TensorType::kInt32:
    return napi_int32_array;
  case TensorType::kInt64:
    return napi_bigint64_array;
  case TensorType::kInt8:
    return napi_int8_array;
  default:
    return napi_uint8_array;
  }
}

std::uint8_t* dataOf(const Napi::TypedArray& array) {
  return static_cast<std::uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
}

/** Own enumerable names and their values. */
template <typename Use> void forEachEntry(const Napi::Value& value, const char* what, const Use& use) {
  if (!value.IsObject())
    expected(value.Env(), std::string(what) + " as an object");
  const auto object = value.As<Napi::Object>();
  const Napi::Array names = object.GetPropertyNames();
  for (std::uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString().Utf8Value();
    use(name, object.Get(name));
  }
}

} // namespace

PlanRequest planRequestOf(const Napi::Object& request) {
  PlanRequest result;
  result.name = textOf(request, "name");
  result.path = textOf(request, "plan");
  result.weightsIdentity = textOf(request, "weightsIdentity");
  result.expectedBytes = bytesOf(request, "expectedBytes");
  result.options.graph = textOf(request, "graph");
  result.options.weightsRoot = textOf(request, "weightsRoot");
  result.options.plugins = request.Get("plugins").ToBoolean();
  result.options.workspaceBytes = bytesOf(request, "workspaceBytes");
  result.options.optimizationLevel = intOf(request, "optimizationLevel");
  result.options.inspected = request.Get("inspected").ToBoolean();
  forEachObject(request, "profile", [&](const Napi::Object& range) {
    result.options.profile.push_back({textOf(range, "name"), numbersOf<std::int64_t>(range, "min"),
                                      numbersOf<std::int64_t>(range, "opt"), numbersOf<std::int64_t>(range, "max")});
  });
  return result;
}

ModelSpec modelSpecOf(const Napi::Object& spec) {
  ModelSpec result;
  result.name = textOf(spec, "name");
  forEachObject(spec, "stages", [&](const Napi::Object& stage) {
    StageSpec entry;
    entry.name = textOf(stage, "name");
    entry.plan = planRequestOf(objectOf(stage, "plan"));
    entry.isCaptured = stage.Get("captured").ToBoolean();
    forEachObject(stage, "bindings", [&](const Napi::Object& binding) {
      entry.bindings.push_back({textOf(binding, "name"), roleOf(binding), typeOf(binding), openShapeOf(binding),
                                numbersOf<std::int64_t>(binding, "maxShape")});
    });
    result.stages.push_back(std::move(entry));
  });
  const Napi::Object encode = objectOf(spec, "encode");
  for (std::uint32_t i = 0; encode.IsArray() && i < encode.As<Napi::Array>().Length(); ++i)
    result.encode.push_back(encode.Get(i).ToString().Utf8Value());
  forEachObject(spec, "weights", [&](const Napi::Object& weight) {
    result.weights.push_back(
        {textOf(weight, "name"), textOf(weight, "file"), bytesOf(weight, "offsetBytes"), bytesOf(weight, "sizeBytes")});
  });
  result.sequences = intOf(spec, "sequences");
  result.images = intOf(spec, "images");
  result.imagePositions = static_cast<std::int64_t>(bytesOf(spec, "imagePositions"));
  result.reserveBytes = bytesOf(spec, "reserveBytes");
  if (result.sequences < 0 || result.images < 0)
    expected(spec.Env(), "sequences and images of 0 or more");
  return result;
}

HostInputs hostInputsOf(const Napi::Value& inputs, std::vector<Napi::Value>& held) {
  HostInputs result;
  forEachEntry(inputs, "inputs", [&](const std::string& name, const Napi::Value& value) {
    if (!value.IsObject())
      expected(value.Env(), "the input " + name + " as a tensor");
    const auto tensor = value.As<Napi::Object>();
    HostInput input;
    input.type = typeOf(tensor);
    input.shape = numbersOf<std::int64_t>(tensor, "shape");
    const auto data = requireArray<Napi::TypedArray>(tensor.Get("data"), arrayTypeOf(input.type),
                                                     ("data of " + name + " that fit its type").c_str());
    for (const auto side : input.shape)
      if (side < 0)
        expected(value.Env(), "a shape of " + name + " without negative sides");
    input.data = dataOf(data);
    input.sizeBytes = data.ByteLength();
    held.push_back(data);
    result.emplace(name, std::move(input));
  });
  return result;
}

HostOutput hostOutputOf(const Napi::Value& array, const std::string& name, std::vector<Napi::Value>& held) {
  if (!array.IsTypedArray())
    expected(array.Env(), "the output " + name + " as a typed array");
  const auto data = array.As<Napi::TypedArray>();
  held.push_back(data);
  return {dataOf(data), data.ByteLength()};
}

HostOutputs hostOutputsOf(const Napi::Value& outputs, std::vector<Napi::Value>& held) {
  HostOutputs result;
  forEachEntry(outputs, "outputs", [&](const std::string& name, const Napi::Value& value) {
    result[name] = hostOutputOf(value, name, held);
  });
  return result;
}

Napi::Value planFileValue(Napi::Env env, const PlanFile& file) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("path", file.path);
  value.Set("origin", file.origin == PlanFile::Origin::kFound   ? "found"
                      : file.origin == PlanFile::Origin::kBuilt ? "built"
                                                                : "replaced");
  value.Set("reason", file.reason.empty() ? env.Null() : Napi::Value(Napi::String::New(env, file.reason)));
  value.Set("sizeBytes", static_cast<double>(file.sizeBytes));
  value.Set("seconds", file.seconds);
  Napi::Array remarks = Napi::Array::New(env);
  for (const auto& remark : file.remarks)
    remarks.Set(remarks.Length(), remark);
  value.Set("remarks", remarks);
  value.Set("layers", file.layers.empty() ? env.Null() : Napi::Value(Napi::String::New(env, file.layers)));
  return value;
}

} // namespace scenebus::addon
