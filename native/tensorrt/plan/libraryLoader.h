#pragma once
#include "tensorrt/plan/inferenceLibrary.h"

#include <memory>
#include <string>
#include <vector>

/** Finds the installed TensorRT at run time. Needs no header of it, so it is compiled and tested everywhere. */
namespace scenebus::tensorrt {

/** Versions that we work with: `kOldestVersion` <= version < `kFirstUnknownVersion`. */
constexpr int kOldestVersion = 10'03'00;
constexpr int kFirstUnknownVersion = 12'00'00;

/** The few symbols that are called by name; everything else of TensorRT is virtual functions. */
struct LibrarySymbols {
  void* (*createBuilder)(void* logger, std::int32_t version) = nullptr;
  void* (*createRuntime)(void* logger, std::int32_t version) = nullptr;
  void* (*createParser)(void* network, void* logger, int version) = nullptr;
  void* (*pluginRegistry)() = nullptr;
};

/** The opened libraries; stay open for the life of the process, since plans and plugins point into them. */
struct LoadedLibraries {
  LibrarySymbols symbols;
  Version version;
  std::string path;
};

/** How the loader looks for files; the tests point it elsewhere. */
struct LibrarySearch {
  /** Tried after the loader's own paths. */
  std::vector<std::string> folders{"/usr/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
                                   "/usr/lib/aarch64-linux-gnu/tegra", "/usr/local/tensorrt/lib",
                                   "/usr/local/cuda/lib64"};
  bool useLoaderPaths = true;
};

/**
 * @param headers version of the headers that the addon was compiled with: the library's major version must be the same
 * @throws CodedError ERR_NATIVE_UNAVAILABLE when no library or symbol was found; ERR_ENGINE_INCOMPATIBLE for a version
 *   that cannot be used. Both say what was looked for, what came, and what to install.
 */
LoadedLibraries openLibraries(Version headers, const LibrarySearch& search = {});

/** What `getInferLibVersion` returned, in our count: before version 10 it meant `MAJOR*1000 + MINOR*100 + PATCH`. */
Version versionFromLibrary(int reported);

} // namespace scenebus::tensorrt
