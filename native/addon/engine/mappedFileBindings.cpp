// mapFile(path, offsetBytes, sizeBytes) -> { bytes: ArrayBuffer, unmap() }
#include <cstdint>
#include <memory>
#include <string>

#include "addon/failure.h"
#include "addon/registrar.h"
#include "common/codedError.h"
#include "common/mappedFile.h"

namespace scenebus::addon {

namespace {

// V8 refuses larger buffers; a clear message instead of a failed allocation. Node 20: 2^32 bytes per typed array.
constexpr std::size_t kMaxBufferBytes = std::size_t{1} << 32;

Napi::Value mapFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsString() || !info[1].IsNumber() || !info[2].IsNumber())
    throw Napi::TypeError::New(env, "Expected mapFile(path, offsetBytes, sizeBytes)");
  const auto file = std::make_shared<MappedFile>();
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  try {
    *file = MappedFile("the file", path,
                       {info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value()},
                       MappedFile::Pages::kPrivate);
    if (file->sizeBytes() > kMaxBufferBytes)
      throw CodedError("ERR_MODEL_INVALID",
                       "cannot map the file at " + path + ": the range is too large for one buffer; map a part of it");
  } catch (...) {
    throw jsError(env, currentFailure());
  }

  // The finalizer's copy keeps the mapping until the buffer is collected or detached, whichever comes last.
  const Napi::ArrayBuffer bytes =
      file->sizeBytes() == 0 ? Napi::ArrayBuffer::New(env, 0)
                        : Napi::ArrayBuffer::New(env, file->writableData(), file->sizeBytes(), [file](Napi::Env, void*) {});
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
                            *file = MappedFile();
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
