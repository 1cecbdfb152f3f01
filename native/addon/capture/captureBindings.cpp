// startCapture(config, onEvent) -> { stop() }; typed in sdk/capture/host/capture-addon.ts.
#include <memory>
#include <string>

#include <opencv2/core.hpp>
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
  } else if (kind == "images") {
    config.kind = CaptureConfig::Kind::kImages;
    config.directory = text(object, "directory");
  } else {
    config.kind = CaptureConfig::Kind::kTest;
    config.pattern = text(object, "pattern");
    config.patternFrames = static_cast<uint64_t>(number(object, "patternFrames"));
  }
  config.loop = flag(object, "loop");
  config.requestWidth = static_cast<int>(number(object, "width"));
  config.requestHeight = static_cast<int>(number(object, "height"));
  config.requestFps = number(object, "fps");
  config.rotation = static_cast<int>(number(object, "rotation"));
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
  case CaptureEvent::Type::kEnded:
    return "ended";
  case CaptureEvent::Type::kFailed:
    return "failed";
  case CaptureEvent::Type::kStopped:
    break;
  }
  return "stopped";
}

void deliver(Napi::Env env, Napi::Function onEvent, CaptureEvent* event) {
  const std::unique_ptr<CaptureEvent> owned(event);
  if (env == nullptr || onEvent == nullptr)
    return;
  Napi::Object object = Napi::Object::New(env);
  object.Set("type", typeName(event->type));
  object.Set("ringName", event->ringName);
  object.Set("width", event->width);
  object.Set("height", event->height);
  object.Set("framesPerSecond", event->framesPerSecond);
  object.Set("backend", event->backend);
  object.Set("code", event->code);
  object.Set("message", event->message);
  onEvent.Call({object});
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
    const bool last = event.type != CaptureEvent::Type::kRing && event.type != CaptureEvent::Type::kWarning;
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

void registerCapture(Napi::Env env, Napi::Object exports) {
  exports.Set("startCapture", Napi::Function::New(env, startCapture, "startCapture"));
}

const Registrar kRegistrar{registerCapture};

} // namespace
} // namespace scenebus::addon
