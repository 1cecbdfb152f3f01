#pragma once
#include <napi.h>

namespace scenebus::addon {

/**
 * Of what the addons export together, to be raised with `INTERFACE_VERSION` in sdk/native/interface-version.ts, which
 * JavaScript compares with it when it loads an addon: one that was built for other JavaScript says so.
 */
constexpr int kInterfaceVersion = 3;

inline void exportInterfaceVersion(Napi::Env env, Napi::Object exports) {
  exports.Set("interfaceVersion", Napi::Number::New(env, kInterfaceVersion));
}

} // namespace scenebus::addon
