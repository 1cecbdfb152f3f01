// processImage(pixels, options) -> Promise; greyThumbnail(…); compareThumbnails(…). See sdk/native/addon-types.ts.
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/jobs.h"
#include "addon/registrar.h"
#include "image/changeMeasure.h"
#include "image/imageProcessor.h"

namespace scenebus::addon {

namespace {

// sdk/core/limits.ts is stricter; this keeps the arithmetic below in range whoever calls.
constexpr int kMaxSide = 1 << 16;
constexpr int kMaxTileSide = 1 << 13;
constexpr int kMaxTiles = 64;
constexpr int kMaxGridSide = 1 << 10;

struct ProcessJob {
  PixelView image;
  TileLayout layout;
  int tileSize = 0;
  Normalization normalization;
  float* pixelValues = nullptr; // owned by the JS buffer that the call references
  uint8_t* tileBytes = nullptr; // likewise; null when not wanted
};

int requireInt(const Napi::Object& options, const char* name, int low, int high) {
  const Napi::Value value = options.Get(name);
  const int64_t number = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : -1;
  if (!value.IsNumber() || number < low || number > high)
    throw Napi::TypeError::New(options.Env(), std::string("Expected ") + name + " in " + std::to_string(low) + "–" +
                                                  std::to_string(high));
  return static_cast<int>(number);
}

Napi::Uint8Array requireBytes(const Napi::Env& env, const Napi::Value& value, size_t size) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw Napi::TypeError::New(env, "Expected a Uint8Array");
  const Napi::Uint8Array bytes = value.As<Napi::Uint8Array>();
  if (bytes.ByteLength() != size)
    throw Napi::TypeError::New(env, "Expected " + std::to_string(size) + " bytes, received " +
                                        std::to_string(bytes.ByteLength()));
  return bytes;
}

std::array<double, 3> requireTriple(const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      value.As<Napi::Float64Array>().ElementLength() != 3)
    throw Napi::TypeError::New(options.Env(), std::string("Expected ") + name + " as a Float64Array of 3");
  const Napi::Float64Array numbers = value.As<Napi::Float64Array>();
  return {numbers[0], numbers[1], numbers[2]};
}

std::vector<std::pair<int, int>> requireArrangements(const Napi::Object& options, int maxTiles) {
  const Napi::Value value = options.Get("aspectRatios");
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    throw Napi::TypeError::New(options.Env(), "Expected aspectRatios as an Int32Array");
  const Napi::Int32Array numbers = value.As<Napi::Int32Array>();
  std::vector<std::pair<int, int>> pairs;
  for (size_t i = 0; i + 1 < numbers.ElementLength(); i += 2) {
    const int rows = numbers[i];
    const int columns = numbers[i + 1];
    if (rows < 1 || columns < 1 || rows > maxTiles || columns > maxTiles || rows * columns > maxTiles)
      throw Napi::TypeError::New(options.Env(), "Expected aspect ratios of at most maxTiles tiles");
    pairs.emplace_back(rows, columns);
  }
  if (pairs.empty())
    throw Napi::TypeError::New(options.Env(), "Expected at least one aspect ratio");
  return pairs;
}

Napi::Value processImage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[1].IsObject())
    throw Napi::TypeError::New(env, "Expected processImage(pixels, options)");
  const Napi::Object options = info[1].As<Napi::Object>();
  ProcessJob job;
  job.image.width = requireInt(options, "width", 1, kMaxSide);
  job.image.height = requireInt(options, "height", 1, kMaxSide);
  job.image.isBgr = options.Get("bgr").ToBoolean();
  const Napi::Uint8Array pixels = requireBytes(
      env, info[0], static_cast<size_t>(job.image.width) * static_cast<size_t>(job.image.height) * 3);
  job.image.data = pixels.Data();
  job.tileSize = requireInt(options, "tileSize", 1, kMaxTileSide);
  const int maxTiles = requireInt(options, "maxTiles", 1, kMaxTiles);
  job.normalization.rescaleFactor = options.Get("rescaleFactor").ToNumber().DoubleValue();
  job.normalization.mean = requireTriple(options, "mean");
  job.normalization.std = requireTriple(options, "std");
  job.layout =
      chooseTileLayout(job.image.width, job.image.height, job.tileSize, requireArrangements(options, maxTiles));

  // Ordinary JS buffers, zeroed by V8 (unused slots stay 0), so that the result can be moved to a worker thread.
  const size_t elements = tileElements(job.tileSize);
  Napi::Float32Array pixelValues = Napi::Float32Array::New(env, elements * static_cast<size_t>(maxTiles));
  job.pixelValues = pixelValues.Data();
  Napi::Value tileBytes = env.Undefined();
  if (options.Get("wantTileBytes").ToBoolean()) {
    Napi::Uint8Array bytes =
        Napi::Uint8Array::New(env, elements * static_cast<size_t>(job.layout.numTiles()));
    job.tileBytes = bytes.Data();
    tileBytes = bytes;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("pixelValues", pixelValues);
  if (!tileBytes.IsUndefined())
    result.Set("tileBytes", tileBytes);
  result.Set("aspectRatioId", job.layout.aspectRatioId);
  result.Set("numTiles", job.layout.numTiles());
  result.Set("resizedWidth", job.layout.resizedWidth);
  result.Set("resizedHeight", job.layout.resizedHeight);
  result.Set("canvasWidth", job.layout.columns * job.tileSize);
  result.Set("canvasHeight", job.layout.rows * job.tileSize);
  Jobs& jobs = Jobs::of(env);
  const auto kept = std::make_shared<Napi::ObjectReference>(Napi::Persistent(result));
  return jobs.start(
      jobs.shortThreads(), {},
      [job](CancelFlag) {
        fillTiles(job.image, job.layout, job.tileSize, job.normalization, job.pixelValues, job.tileBytes);
      },
      [kept](Napi::Env) { return kept->Value(); }, {info[0]});
}

Napi::Value greyThumbnailBinding(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  for (const size_t i : {size_t{1}, size_t{2}, size_t{4}, size_t{5}}) {
    const int64_t side = info[i].IsNumber() ? info[i].As<Napi::Number>().Int64Value() : 0;
    if (side < 1 || side > (i < 4 ? kMaxSide : kMaxGridSide))
      throw Napi::TypeError::New(env, "Expected greyThumbnail(pixels, width, height, bgr, gridWidth, gridHeight)");
  }
  const int width = info[1].As<Napi::Number>().Int32Value();
  const int height = info[2].As<Napi::Number>().Int32Value();
  const int gridWidth = info[4].As<Napi::Number>().Int32Value();
  const int gridHeight = info[5].As<Napi::Number>().Int32Value();
  const Napi::Uint8Array pixels =
      requireBytes(env, info[0], static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  Napi::Uint8Array thumbnail =
      Napi::Uint8Array::New(env, static_cast<size_t>(gridWidth) * static_cast<size_t>(gridHeight));
  greyThumbnail(pixels.Data(), width, height, info[3].ToBoolean(), gridWidth, gridHeight, thumbnail.Data());
  return thumbnail;
}

Napi::Value compareThumbnailsBinding(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  for (const size_t i : {size_t{2}, size_t{3}, size_t{4}}) {
    const int64_t side = info[i].IsNumber() ? info[i].As<Napi::Number>().Int64Value() : 0;
    if (side < 1 || side > kMaxGridSide)
      throw Napi::TypeError::New(env, "Expected compareThumbnails(a, b, gridWidth, gridHeight, blockSize)");
  }
  const int gridWidth = info[2].As<Napi::Number>().Int32Value();
  const int gridHeight = info[3].As<Napi::Number>().Int32Value();
  const size_t size = static_cast<size_t>(gridWidth) * static_cast<size_t>(gridHeight);
  const Napi::Uint8Array a = requireBytes(env, info[0], size);
  const Napi::Uint8Array b = requireBytes(env, info[1], size);
  const ThumbnailDifference difference =
      compareThumbnails(a.Data(), b.Data(), gridWidth, gridHeight, info[4].As<Napi::Number>().Int32Value());
  Napi::Object result = Napi::Object::New(env);
  result.Set("mean", difference.mean);
  result.Set("maxBlock", difference.maxBlock);
  return result;
}

void registerImage(Napi::Env env, Napi::Object exports) {
  exports.Set("processImage", Napi::Function::New(env, processImage, "processImage"));
  exports.Set("greyThumbnail", Napi::Function::New(env, greyThumbnailBinding, "greyThumbnail"));
  exports.Set("compareThumbnails", Napi::Function::New(env, compareThumbnailsBinding, "compareThumbnails"));
}

const Registrar kRegistrar{registerImage};

} // namespace
} // namespace scenebus::addon
