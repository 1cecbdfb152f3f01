// new FrameRing(name); typed in sdk/capture/frame-ring.ts. The reader side, without OpenCV.
#include <chrono>
#include <cstring>
#include <memory>
#include <string>

#include "addon/registrar.h"
#include "capture/frameRing.h"
#include "image/changeMeasure.h"
#include "image/swapChannels.h"

namespace scenebus::addon {

namespace {

using capture::RingReader;

constexpr int kMaxGridSide = 1024;

class FrameRing : public Napi::ObjectWrap<FrameRing> {
public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "FrameRing",
        {InstanceMethod("read", &FrameRing::read), InstanceMethod("greyThumbnail", &FrameRing::greyThumbnail),
         InstanceMethod("newest", &FrameRing::newest), InstanceMethod("heartbeat", &FrameRing::heartbeat),
         InstanceMethod("newestTimes", &FrameRing::newestTimes),
         InstanceMethod("requestDoorbell", &FrameRing::requestDoorbell), InstanceMethod("close", &FrameRing::close)});
  }

  explicit FrameRing(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FrameRing>(info) {
    if (info.Length() < 1 || !info[0].IsString())
      throw Napi::TypeError::New(info.Env(), "Expected new FrameRing(name)");
    try {
      mReader = std::make_unique<RingReader>(info[0].As<Napi::String>().Utf8Value());
      // From here on nothing is left behind, however either process ends.
      mReader->unlinkName();
    } catch (const std::exception& error) {
      throw Napi::Error::New(info.Env(), error.what());
    }
  }

private:
  RingReader& reader(Napi::Env env) {
    if (!mReader)
      throw Napi::Error::New(env, "the frame ring is closed");
    return *mReader;
  }

  /**
   * read(afterSequence, isSwapped?, into?) -> null | { sequence, width, height, capturedAtMs, capturedAtMonotonicMs,
   * mediaTimeMs, data }: the one copy. `into`: a Uint8Array that becomes `data` when the frame fits it exactly.
   */
  Napi::Value read(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 1 || !info[0].IsNumber())
      throw Napi::TypeError::New(env, "Expected read(afterSequence)");
    const auto after = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    const bool isSwapped = info.Length() > 1 && info[1].ToBoolean();
    using namespace std::chrono;
    reader(env).noteRead(duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count());
    Napi::Uint8Array data = bytesOf(info.Length() > 2 ? info[2] : env.Undefined());
    // Room first, then the copy: allocating may run the garbage collector, and a pinned slot is one the writer lacks.
    uint64_t bytes = 0;
    {
      const RingReader::Pin pin = reader(env).pinNewest(after);
      if (!pin)
        return env.Null();
      bytes = capture::frameBytes(pin.meta().width, pin.meta().height);
    }
    if (data.IsEmpty() || data.ByteLength() != bytes)
      data = Napi::Uint8Array::New(env, bytes);
    capture::FrameMeta meta;
    {
      const RingReader::Pin pin = reader(env).pinNewest(after);
      if (!pin)
        return env.Null();
      meta = pin.meta();
      if (capture::frameBytes(meta.width, meta.height) != bytes) { // the size has just changed
        bytes = capture::frameBytes(meta.width, meta.height);
        data = Napi::Uint8Array::New(env, bytes);
      }
      if (isSwapped)
        copySwapped(pin.pixels(), data.Data(), bytes / 3);
      else
        std::memcpy(data.Data(), pin.pixels(), bytes);
    }
    Napi::Object frame = Napi::Object::New(env);
    frame.Set("sequence", static_cast<double>(meta.sequence));
    frame.Set("width", meta.width);
    frame.Set("height", meta.height);
    frame.Set("capturedAtMs", static_cast<double>(meta.capturedAtUs) / 1000);
    frame.Set("capturedAtMonotonicMs", static_cast<double>(meta.capturedAtMonotonicUs) / 1000);
    frame.Set("mediaTimeMs", meta.mediaTimeMs);
    frame.Set("data", data);
    return frame;
  }

  /** Empty for everything that is no Uint8Array. */
  static Napi::Uint8Array bytesOf(const Napi::Value& value) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
      return {};
    return value.As<Napi::Uint8Array>();
  }

  /** greyThumbnail(gridWidth, gridHeight) -> null | Uint8Array: of the newest frame, without a copy of it. */
  Napi::Value greyThumbnail(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsNumber() || !info[1].IsNumber())
      throw Napi::TypeError::New(env, "Expected greyThumbnail(gridWidth, gridHeight)");
    const int gridWidth = info[0].As<Napi::Number>().Int32Value();
    const int gridHeight = info[1].As<Napi::Number>().Int32Value();
    if (gridWidth < 1 || gridHeight < 1 || gridWidth > kMaxGridSide || gridHeight > kMaxGridSide)
      throw Napi::RangeError::New(env, "Expected a grid of 1 to 1024 cells a side");
    Napi::Uint8Array cells =
        Napi::Uint8Array::New(env, static_cast<size_t>(gridWidth) * static_cast<size_t>(gridHeight));
    const RingReader::Pin pin = reader(env).pinNewest(0);
    if (!pin)
      return env.Null();
    const auto width = static_cast<int>(pin.meta().width);
    const auto height = static_cast<int>(pin.meta().height);
    scenebus::greyThumbnail(pin.pixels(), width, height, true, gridWidth, gridHeight, cells.Data());
    return cells;
  }

  Napi::Value newest(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(reader(info.Env()).newestSequence()));
  }
  /** newestTimes() -> null | { capturedAtMs, capturedAtMonotonicMs } */
  Napi::Value newestTimes(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const RingReader::Pin pin = reader(env).pinNewest(0);
    if (!pin)
      return env.Null();
    Napi::Object times = Napi::Object::New(env);
    times.Set("capturedAtMs", static_cast<double>(pin.meta().capturedAtUs) / 1000);
    times.Set("capturedAtMonotonicMs", static_cast<double>(pin.meta().capturedAtMonotonicUs) / 1000);
    return times;
  }
  Napi::Value heartbeat(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(reader(info.Env()).heartbeat()));
  }
  void requestDoorbell(const Napi::CallbackInfo& info) { reader(info.Env()).requestDoorbell(); }
  void close(const Napi::CallbackInfo&) { mReader.reset(); }

  std::unique_ptr<RingReader> mReader;
};

void registerFrameRing(Napi::Env env, Napi::Object exports) {
  exports.Set("FrameRing", FrameRing::define(env));
}

const Registrar kRegistrar{registerFrameRing};

} // namespace
} // namespace scenebus::addon
