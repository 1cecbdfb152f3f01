// What the capture host process needs besides capturing: facts of the OpenCV build and of devices, and its own end.
#include <csignal>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <unistd.h>

#include <opencv2/core.hpp>
#include <opencv2/core/version.hpp>
#include <opencv2/videoio/registry.hpp>

#include "addon/registrar.h"
#include "capture/frameRing.h"
#include "capture/gstElements.h"
#include "capture/videoDevice.h"

namespace scenebus::addon {

namespace {

/** { version, backends: string[], information } */
Napi::Value openCvBuild(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("version", CV_VERSION);
  Napi::Array backends = Napi::Array::New(env);
  uint32_t count = 0;
  for (const cv::VideoCaptureAPIs backend : cv::videoio_registry::getBackends())
    backends.Set(count++, cv::videoio_registry::getBackendName(backend));
  result.Set("backends", backends);
  result.Set("information", cv::getBuildInformation());
  return result;
}

/** probeVideoDevice(path) -> { state, card, message } */
Napi::Value probeVideoDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsString())
    throw Napi::TypeError::New(env, "Expected probeVideoDevice(path)");
  const capture::VideoDevice device = capture::probeVideoDevice(info[0].As<Napi::String>().Utf8Value());
  static constexpr const char* kStates[] = {"ready", "missing", "denied", "busy", "notVideo", "noCapture", "failed"};
  Napi::Object result = Napi::Object::New(env);
  result.Set("state", kStates[static_cast<int>(device.state)]);
  result.Set("card", device.card);
  result.Set("message", device.message);
  return result;
}

Napi::Value removeStaleRings(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(capture::removeStaleRings()));
}

/** missingGstElements(names: string[]) -> string[] */
Napi::Value missingGstElements(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsArray())
    throw Napi::TypeError::New(env, "Expected missingGstElements(names)");
  const auto list = info[0].As<Napi::Array>();
  std::vector<std::string> names;
  for (uint32_t index = 0; index < list.Length(); ++index)
    names.push_back(list.Get(index).ToString().Utf8Value());
  const std::vector<std::string> missing = capture::missingGstElements(names);
  Napi::Array result = Napi::Array::New(env, missing.size());
  for (uint32_t index = 0; index < missing.size(); ++index)
    result.Set(index, missing[index]);
  return result;
}

/** The kernel sends SIGTERM when the process that started this one is gone, even if it was killed. */
void followParent(const Napi::CallbackInfo&) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/** Ends the process without running destructors: the capture thread may be inside a read that never returns. */
void exitNow(const Napi::CallbackInfo& info) {
  _exit(info.Length() > 0 && info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0);
}

void registerHost(Napi::Env env, Napi::Object exports) {
  exports.Set("openCvBuild", Napi::Function::New(env, openCvBuild, "openCvBuild"));
  exports.Set("probeVideoDevice", Napi::Function::New(env, probeVideoDevice, "probeVideoDevice"));
  exports.Set("missingGstElements", Napi::Function::New(env, missingGstElements, "missingGstElements"));
  exports.Set("removeStaleRings", Napi::Function::New(env, removeStaleRings, "removeStaleRings"));
  exports.Set("followParent", Napi::Function::New(env, followParent, "followParent"));
  exports.Set("exitNow", Napi::Function::New(env, exitNow, "exitNow"));
}

const Registrar kRegistrar{registerHost};

} // namespace
} // namespace scenebus::addon
