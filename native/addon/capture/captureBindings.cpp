// startCapture(config, onEvent) -> { stop() }, openFeed(config, onEvent) -> { push(), beat(), end() }; typed in
// sdk/capture/host/capture-addon.ts.
#include <cerrno>
#include <memory>
#include <string>
#include <system_error>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "addon/registrar.h"
#include "capture/captureSession.h"

namespace scenebus::addon {

namespace {

using capture::CaptureConfig;
using capture::CaptureEvent;
using capture::CaptureSession;

double number(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsNumber())
    throw Napi::TypeError::New(object.Env(), std::string("Expected a number for ") + key);
  return value.As<Napi::Number>().DoubleValue();
}

std::string text(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsString())
    throw Napi::TypeError::New(object.Env(), std::string("Expected a string for ") + key);
  return value.As<Napi::String>().Utf8Value();
}

bool flag(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsBoolean())
    throw Napi::TypeError::New(object.Env(), std::string("Expected a boolean for ") + key);
  return value.As<Napi::Boolean>().Value();
}

int backendByName(Napi::Env env, const std::string& name) {
  if (name == "FFMPEG")
    return cv::CAP_FFMPEG;
  if (name == "GSTREAMER")
    return cv::CAP_GSTREAMER;
  if (name == "V4L2")
    return cv::CAP_V4L2;
  if (name == "CV_MJPEG")
    return cv::CAP_OPENCV_MJPEG;
  throw Napi::TypeError::New(env, "Unknown backend " + name);
}

CaptureConfig readConfig(const Napi::Object& object) {
  CaptureConfig config;
  const std::string kind = text(object, "kind");
  if (kind == "video") {
    config.kind = CaptureConfig::Kind::kVideo;
    const Napi::Value attempts = object.Get("attempts");
    if (!attempts.IsArray())
      throw Napi::TypeError::New(object.Env(), "Expected an array for attempts");
    const auto list = attempts.As<Napi::Array>();
    for (uint32_t index = 0; index < list.Length(); ++index) {
      const Napi::Object item = list.Get(index).As<Napi::Object>();
      capture::OpenAttempt attempt;
      attempt.backend = backendByName(object.Env(), text(item, "backend"));
      attempt.target = text(item, "target");
      attempt.deviceIndex = static_cast<int>(number(item, "deviceIndex"));
      attempt.requestFormat = flag(item, "requestFormat");
      config.attempts.push_back(attempt);
    }
    config.isFile = flag(object, "isFile");
    config.mayBeFile = flag(object, "mayBeFile");
  } else if (kind == "test") {
    config.kind = CaptureConfig::Kind::kTest;
    config.pattern = text(object, "pattern");
    config.patternFrames = static_cast<uint64_t>(number(object, "patternFrames"));
  } // else "feed": frames are pushed
  config.loop = flag(object, "loop");
  config.requestWidth = static_cast<int>(number(object, "width"));
  config.requestHeight = static_cast<int>(number(object, "height"));
  config.requestFps = number(object, "fps");
  config.hasOrientation = flag(object, "hasOrientation");
  config.mirror = flag(object, "mirror");
  config.rotation = static_cast<int>(number(object, "rotation"));
  config.frozenAfterMs = static_cast<int>(number(object, "frozenAfterMs"));
  config.frozenHash = text(object, "frozenHash");
  config.clipHash = text(object, "clipHash");
  config.openTimeoutMs = static_cast<int>(number(object, "openTimeoutMs"));
  config.readTimeoutMs = static_cast<int>(number(object, "readTimeoutMs"));
  config.ringSlots = static_cast<uint32_t>(number(object, "ringSlots"));
  config.firstSequence = static_cast<uint64_t>(number(object, "firstSequence"));
  config.doorbellFd = static_cast<int>(number(object, "doorbellFd"));
  return config;
}

const char* typeName(CaptureEvent::Type type) {
  switch (type) {
  case CaptureEvent::Type::kRing:
    return "ring";
  case CaptureEvent::Type::kWarning:
    return "warning";
  case CaptureEvent::Type::kFrozen:
    return "frozen";
  case CaptureEvent::Type::kMoving:
    return "moving";
  case CaptureEvent::Type::kEnded:
    return "ended";
  case CaptureEvent::Type::kFailed:
    return "failed";
  case CaptureEvent::Type::kStopped:
    break;
  }
  return "stopped";
}

Napi::Object toObject(Napi::Env env, const CaptureEvent& event) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("type", typeName(event.type));
  object.Set("ringName", event.ringName);
  object.Set("width", event.width);
  object.Set("height", event.height);
  object.Set("framesPerSecond", event.framesPerSecond);
  object.Set("isPaced", event.isPaced);
  object.Set("backend", event.backend);
  object.Set("pictureHash", event.pictureHash);
  object.Set("code", event.code);
  object.Set("message", event.message);
  object.Set("frames", static_cast<double>(event.frames));
  return object;
}

void deliver(Napi::Env env, Napi::Function onEvent, CaptureEvent* event) {
  const std::unique_ptr<CaptureEvent> owned(event);
  if (env != nullptr && onEvent != nullptr)
    onEvent.Call({toObject(env, *event)});
}

bool isLast(CaptureEvent::Type type) {
  return type == CaptureEvent::Type::kEnded || type == CaptureEvent::Type::kFailed ||
         type == CaptureEvent::Type::kStopped;
}

Napi::Value startCapture(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsObject() || !info[1].IsFunction())
    throw Napi::TypeError::New(env, "Expected startCapture(config, onEvent)");
  CaptureConfig config = readConfig(info[0].As<Napi::Object>());
  cv::setNumThreads(1); // resizing one frame is not worth waking the cores that the model computes on
  // Unbounded queue: events are few (start, warnings, end).
  auto events = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "scenebus capture events", 0, 1);
  auto session = CaptureSession::start(std::move(config), [events](const CaptureEvent& event) mutable {
    const bool last = isLast(event.type);
    auto* copy = new CaptureEvent(event);
    if (events.NonBlockingCall(copy, deliver) != napi_ok)
      delete copy;
    if (last)
      events.Release();
  });
  Napi::Object handle = Napi::Object::New(env);
  // The session, and with it the ring, lives as long as this function is reachable.
  handle.Set("stop", Napi::Function::New(
                         env, [session](const Napi::CallbackInfo&) { session->requestStop(); }, "stop"));
  return handle;
}

/** A picture that JavaScript decoded: `{ width, height, data }`, rgb8 `[height, width, 3]`. */
cv::Mat readPicture(const Napi::Object& picture) {
  const auto width = static_cast<int>(number(picture, "width"));
  const auto height = static_cast<int>(number(picture, "height"));
  const Napi::Value data = picture.Get("data");
  if (!data.IsTypedArray() || data.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array || width < 1 ||
      height < 1 || static_cast<uint32_t>(width) > capture::kMaxSide ||
      static_cast<uint32_t>(height) > capture::kMaxSide)
    throw Napi::TypeError::New(picture.Env(), "Expected a picture: width, height, data");
  auto pixels = data.As<Napi::Uint8Array>();
  if (pixels.ElementLength() != capture::frameBytes(static_cast<uint64_t>(width), static_cast<uint64_t>(height)))
    throw Napi::TypeError::New(picture.Env(), "Expected width * height * 3 bytes of pixels");
  const cv::Mat rgb(height, width, CV_8UC3, pixels.Data());
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  return bgr;
}

/**
 * openFeed(config, onEvent) -> { push(picture), beat(), end() }: frames that JavaScript makes, into a ring.
 * push throws an Error with a `code` of sdk/core/errors.ts for a picture beyond the limits or without shared memory.
 */
Napi::Value openFeed(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsObject() || !info[1].IsFunction())
    throw Napi::TypeError::New(env, "Expected openFeed(config, onEvent)");
  const CaptureConfig config = readConfig(info[0].As<Napi::Object>());
  cv::setNumThreads(1);
  // Everything happens on this thread: events are given at once.
  auto onEvent = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[1].As<Napi::Function>()));
  auto publisher = std::make_shared<capture::FramePublisher>(
      config, [onEvent, env](const CaptureEvent& event) { onEvent->Call({toObject(env, event)}); });
  const double framesPerSecond = config.requestFps;
  Napi::Object feed = Napi::Object::New(env);
  const auto push = [publisher, framesPerSecond](const Napi::CallbackInfo& call) {
    if (call.Length() < 1 || !call[0].IsObject())
      throw Napi::TypeError::New(call.Env(), "Expected push(picture)");
    const auto picture = call[0].As<Napi::Object>();
    capture::SourceFrame frame;
    frame.pixels = readPicture(picture);
    frame.mediaTimeMs = number(picture, "mediaTimeMs");
    capture::stampNow(frame);
    const auto fail = [&call](const char* code, const char* message) {
      Napi::Error error = Napi::Error::New(call.Env(), message);
      error.Set("code", code);
      throw error;
    };
    try {
      publisher->publish(frame, {framesPerSecond, text(picture, "backend"), flag(picture, "isPaced")});
    } catch (const capture::CaptureError& error) {
      fail(error.code.c_str(), error.what());
    } catch (const std::system_error& error) {
      const int code = error.code().value();
      fail(code == ENOSPC || code == ENOMEM ? "ERR_LIMIT_EXCEEDED" : "ERR_CAPTURE_LOST", error.what());
    } catch (const cv::Exception& error) {
      fail("ERR_CAPTURE_LOST", error.what());
    }
  };
  feed.Set("push", Napi::Function::New(env, push, "push"));
  feed.Set("beat", Napi::Function::New(
                       env, [publisher](const Napi::CallbackInfo&) { publisher->beat(); }, "beat"));
  feed.Set("end", Napi::Function::New(
                      env, [publisher](const Napi::CallbackInfo&) { publisher->end(); }, "end"));
  return feed;
}

void registerCapture(Napi::Env env, Napi::Object exports) {
  exports.Set("startCapture", Napi::Function::New(env, startCapture, "startCapture"));
  exports.Set("openFeed", Napi::Function::New(env, openFeed, "openFeed"));
}

const Registrar kRegistrar{registerCapture};

} // namespace
} // namespace scenebus::addon
