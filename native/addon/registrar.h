#pragma once
#include <napi.h>

#include <vector>

namespace scenebus::addon {

using RegisterFunction = void (*)(Napi::Env, Napi::Object exports);

/** Bindings add themselves here, so that a new file needs no central list. */
inline std::vector<RegisterFunction>& registerFunctions() {
  static std::vector<RegisterFunction> functions;
  return functions;
}

struct Registrar {
  explicit Registrar(RegisterFunction function) { registerFunctions().push_back(function); }
};

} // namespace scenebus::addon
