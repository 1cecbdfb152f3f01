// mapFile(path, offsetBytes, sizeBytes) -> { bytes: ArrayBuffer, unmap() }
#include <cstdint>
#include <memory>
#include <string>

#include "addon/registrar.h"
#include "common/mappedFile.h"

namespace scenebus::addon {

namespace {

// V8 refuses larger buffers; a clear message instead of a failed allocation. Node 20: 2^32 bytes per typed array.
constexpr int64_t kMaxBufferBytes = int64_t{1} << 32;

Napi::Value mapFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsString() || !info[1].IsNumber() || !info[2].IsNumber())
    throw Napi::TypeError::New(env, "Expected mapFile(path, offsetBytes, sizeBytes)");
  auto file = std::make_shared<MappedFile>();
  const std::string problem = file->map(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Number>().Int64Value(),
                                        info[2].As<Napi::Number>().Int64Value());
  if (!problem.empty())
    throw Napi::Error::New(env, problem);
  if (file->size() > static_cast<size_t>(kMaxBufferBytes))
    throw Napi::Error::New(env, "the range is too large for one buffer; map a part of it");

  // The finalizer's copy keeps the mapping until the buffer is collected or detached, whichever comes last.
  const Napi::ArrayBuffer bytes =
      file->size() == 0 ? Napi::ArrayBuffer::New(env, 0)
                        : Napi::ArrayBuffer::New(env, file->data(), file->size(), [file](Napi::Env, void*) {});
  auto reference = std::make_shared<Napi::Reference<Napi::ArrayBuffer>>(Napi::Persistent(bytes));
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", bytes);
  result.Set("unmap", Napi::Function::New(
                          env,
                          [file, reference](const Napi::CallbackInfo&) {
                            if (reference->IsEmpty())
                              return;
                            Napi::ArrayBuffer buffer = reference->Value();
                            if (buffer.ByteLength() > 0)
                              buffer.Detach();
                            reference->Reset();
                            file->unmap();
                          },
                          "unmap"));
  return result;
}

void registerMappedFile(Napi::Env env, Napi::Object exports) {
  exports.Set("mapFile", Napi::Function::New(env, mapFile, "mapFile"));
}

const Registrar kRegistrar{registerMappedFile};

} // namespace
} // namespace scenebus::addon
