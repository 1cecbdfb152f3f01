#pragma once
#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

/**
 * Handles for JavaScript. Each owns a share of its object: JavaScript may drop or release it while a call still works
 * with it. What the object takes of memory is told to the garbage collector, which sees no more of it than a pointer.
 */
namespace scenebus::addon {

/** Memory that JavaScript holds through a handle. On its thread only. */
class ExternalBytes {
 public:
  explicit ExternalBytes(Napi::Env env) : mEnv(env) {}
  ~ExternalBytes() { set(0); }
  ExternalBytes(const ExternalBytes&) = delete;
  ExternalBytes& operator=(const ExternalBytes&) = delete;

  /** Memory that was taken and stays so: smaller values change nothing. Nor does any after `close`. */
  void grow(std::size_t bytes) {
    if (!mIsClosed && static_cast<std::int64_t>(bytes) > mBytes)
      set(static_cast<std::int64_t>(bytes));
  }
  void close() {
    mIsClosed = true;
    set(0);
  }

 private:
  void set(std::int64_t bytes) {
    if (bytes != mBytes)
      Napi::MemoryManagement::AdjustExternalMemory(mEnv, bytes - mBytes);
    mBytes = bytes;
  }

  Napi::Env mEnv;
  std::int64_t mBytes = 0;
  bool mIsClosed = false;
};

template <typename T>
struct Handle {
  std::shared_ptr<T> object;
  std::shared_ptr<ExternalBytes> bytes;
};

/** @param bytes memory that goes back when the object does */
template <typename T>
Napi::Value makeHandle(Napi::Env env, std::shared_ptr<T> object, const napi_type_tag& tag, std::size_t bytes) {
  auto handle = std::make_unique<Handle<T>>();
  handle->object = std::move(object);
  handle->bytes = std::make_shared<ExternalBytes>(env);
  handle->bytes->grow(bytes);
  auto value = Napi::External<Handle<T>>::New(env, handle.get(), [](Napi::Env, Handle<T>* held) {
    held->bytes->close();
    delete held;
  });
  handle.release();
  value.TypeTag(&tag);
  return value;
}

template <typename T>
Handle<T>& handleOf(const Napi::Value& value, const napi_type_tag& tag) {
  if (!value.IsExternal() || !value.As<Napi::External<Handle<T>>>().CheckTypeTag(&tag))
    throw Napi::TypeError::New(value.Env(), "Expected a handle of this backend");
  return *value.As<Napi::External<Handle<T>>>().Data();
}

template <typename T>
std::shared_ptr<T> requireHandle(const Napi::Value& value, const napi_type_tag& tag) {
  std::shared_ptr<T> object = handleOf<T>(value, tag).object;
  if (!object)
    throw Napi::Error::New(value.Env(), "the handle was released");
  return object;
}

/** Idempotent. */
template <typename T>
void releaseHandle(const Napi::Value& value, const napi_type_tag& tag) {
  Handle<T>& handle = handleOf<T>(value, tag);
  handle.bytes->close();
  handle.object.reset();
}

} // namespace scenebus::addon
