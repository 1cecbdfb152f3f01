#include "addon/interfaceVersion.h"
#include "addon/registrar.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  scenebus::addon::exportInterfaceVersion(env, exports);
  for (auto registerFunction : scenebus::addon::registerFunctions())
    registerFunction(env, exports);
  return exports;
}

NODE_API_MODULE(scenebus_capture, init)
