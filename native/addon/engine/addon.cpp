#include "addon/deferredDeletion.h"
#include "addon/jobs.h"
#include "addon/interfaceVersion.h"
#include "addon/registrar.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  scenebus::addon::deferDeletions(env); // before the jobs, thus ended after them
  scenebus::addon::Jobs::install(env);
  scenebus::addon::exportInterfaceVersion(env, exports);
  for (auto registerFunction : scenebus::addon::registerFunctions())
    registerFunction(env, exports);
  return exports;
}

NODE_API_MODULE(scenebus_engine, init)
