#pragma once
#include "common/cancelFlag.h"

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

/** Values of JavaScript as C++ wants them; a TypeError says what was expected. */
namespace scenebus::addon {

template <typename Array>
Array requireArray(const Napi::Value& value, napi_typedarray_type type, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw Napi::TypeError::New(value.Env(), std::string("Expected ") + what);
  return value.As<Array>();
}

inline Napi::Int32Array requireInts(const Napi::Value& value) {
  return requireArray<Napi::Int32Array>(value, napi_int32_array, "an Int32Array");
}

inline Napi::Float32Array requireFloats(const Napi::Value& value) {
  return requireArray<Napi::Float32Array>(value, napi_float32_array, "a Float32Array");
}

/** One int32 that JavaScript sets to stop a call. */
inline CancelFlag requireFlag(const Napi::Value& value) {
  const auto flag = requireInts(value);
  if (flag.ElementLength() != 1)
    throw Napi::TypeError::New(value.Env(), "Expected an abort flag as an Int32Array of 1");
  return {flag.Data()};
}

inline double numberOf(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber())
    throw Napi::TypeError::New(object.Env(), std::string("Expected ") + name + " as a number");
  return value.As<Napi::Number>().DoubleValue();
}

inline int intOf(const Napi::Object& object, const char* name) { return static_cast<int>(numberOf(object, name)); }

inline std::string textOf(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString())
    throw Napi::TypeError::New(object.Env(), std::string("Expected ") + name + " as a string");
  return value.As<Napi::String>().Utf8Value();
}

inline Napi::Object objectOf(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsObject())
    throw Napi::TypeError::New(object.Env(), std::string("Expected ") + name + " as an object");
  return value.As<Napi::Object>();
}

template <typename T>
std::vector<T> numbersOf(const Napi::Object& object, const char* name) {
  const Napi::Object list = objectOf(object, name);
  if (!list.IsArray())
    throw Napi::TypeError::New(object.Env(), std::string("Expected ") + name + " as an array");
  const auto array = list.As<Napi::Array>();
  std::vector<T> numbers;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value value = array.Get(i);
    if (!value.IsNumber())
      throw Napi::TypeError::New(object.Env(), std::string("Expected numbers in ") + name);
    numbers.push_back(static_cast<T>(value.As<Napi::Number>().Int64Value()));
  }
  return numbers;
}

} // namespace scenebus::addon
