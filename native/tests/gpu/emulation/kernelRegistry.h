#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>

/** Kernels by name, as `cuModuleGetFunction` finds them on a device. */
namespace scenebus::emulation {

/** One thread's work; the arguments are bound. */
using BoundKernel = std::function<void()>;

struct KernelEntry {
  /** Most threads of a block (`__launch_bounds__`). */
  unsigned maxThreads = 1024;
  /** Copies the argument values, as a launch does. */
  std::function<BoundKernel(void** arguments)> bind;
};

inline std::map<std::string, KernelEntry>& kernelRegistry() {
  static std::map<std::string, KernelEntry> registry;
  return registry;
}

template <typename... Parameters, std::size_t... Index>
BoundKernel bindArguments(void (*kernel)(Parameters...), void** arguments, std::index_sequence<Index...>) {
  static_cast<void>(arguments); // for kernels without parameters
  return [kernel, values = std::tuple<Parameters...>(*static_cast<Parameters*>(arguments[Index])...)] {
    std::apply(kernel, values);
  };
}

template <typename... Parameters>
bool registerKernel(const char* name, unsigned maxThreads, void (*kernel)(Parameters...)) {
  kernelRegistry()[name] = {maxThreads, [kernel](void** arguments) {
                              return bindArguments(kernel, arguments, std::index_sequence_for<Parameters...>());
                            }};
  return true;
}

} // namespace scenebus::emulation
