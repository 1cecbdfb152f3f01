#include "tensorrt/plan/libraryLoader.h"

#include "common/codedError.h"

#include <dlfcn.h>

namespace scenebus::tensorrt {
namespace {

constexpr const char* kInstall =
    "On a Jetson: sudo apt install tensorrt (JetPack 6.1 or later); the engine needs libnvinfer and libnvonnxparser";

/** Global, since the parser library refers to symbols of the other and may carry no path to it. */
constexpr int kFlags = RTLD_NOW | RTLD_GLOBAL;

/** `libnvinfer.so.10` in the loader's paths, then in the known folders. Null leaves the reasons in `attempts`. */
void* openAnywhere(const std::string& file, const LibrarySearch& search, int flags, std::string& attempts,
                   std::string& path) {
  std::vector<std::string> candidates;
  if (search.useLoaderPaths)
    candidates.push_back(file);
  for (const auto& folder : search.folders)
    candidates.push_back(folder + "/" + file);
  for (const auto& candidate : candidates) {
    if (void* library = dlopen(candidate.c_str(), flags)) {
      path = candidate;
      return library;
    }
    const char* reason = dlerror();
    attempts += std::string("\n  ") + candidate + ": " + (reason == nullptr ? "cannot be opened" : reason);
  }
  return nullptr;
}

/** Where a library of another major version is, if one is. */
std::string otherLibrary(int major, const LibrarySearch& search) {
  std::string attempts, path;
  void* library = openAnywhere("libnvinfer.so." + std::to_string(major), search, RTLD_LAZY | RTLD_LOCAL, attempts, path);
  if (library != nullptr)
    dlclose(library);
  return path;
}

template <typename Function>
Function symbolOf(void* library, const std::string& path, const char* name) {
  void* found = dlsym(library, name);
  if (found == nullptr)
    throw CodedError("ERR_NATIVE_UNAVAILABLE", path + " has no symbol " + name +
                                                   ": a damaged or foreign library. " + kInstall);
  return reinterpret_cast<Function>(found);
}

/** Says where the loader found a file that was asked for without a folder. */
std::string placeOf(void* symbol, const std::string& path) {
  Dl_info info{};
  return dladdr(symbol, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : path;
}

} // namespace

Version versionFromLibrary(int reported) {
  return reported >= 10000 ? Version{reported}
                           : Version{reported / 1000 * 10000 + reported / 100 % 10 * 100 + reported % 100};
}

LoadedLibraries openLibraries(Version headers, const LibrarySearch& search) {
  const std::string suffix = ".so." + std::to_string(headers.major());
  std::string attempts, path;
  void* infer = openAnywhere("libnvinfer" + suffix, search, kFlags, attempts, path);
  if (infer == nullptr) {
    // Another major version explains more than a missing file.
    for (const int other : {8, 10, 11, 12}) {
      const std::string found = other == headers.major() ? "" : otherLibrary(other, search);
      if (!found.empty())
        throw CodedError("ERR_ENGINE_INCOMPATIBLE",
                         "Expected TensorRT " + std::to_string(headers.major()) +
                             ", whose headers this addon was built with, but found " + found +
                             (other == 8 ? ". JetPack 5 and 6.0 carry TensorRT 8, which cannot run int4: install "
                                           "JetPack 6.1 or later"
                                         : ". Build the addon again on this machine: npm run build:native"));
    }
    throw CodedError("ERR_NATIVE_UNAVAILABLE",
                     "Expected libnvinfer" + suffix + " but it was not found. " + kInstall + ". Looked for:" + attempts);
  }
  LoadedLibraries result;
  const auto reportedVersion = symbolOf<std::int32_t (*)()>(infer, path, "getInferLibVersion");
  result.version = versionFromLibrary(reportedVersion());
  result.path = placeOf(reinterpret_cast<void*>(reportedVersion), path);
  if (result.version.number < kOldestVersion || result.version.number >= kFirstUnknownVersion)
    throw CodedError("ERR_ENGINE_INCOMPATIBLE", "Expected TensorRT 10.3 or later and before 12 but " + result.path +
                                                    " is version " + result.version.text() +
                                                    ". JetPack 6.1 and later bring one that works");
  if (result.version.major() != headers.major())
    throw CodedError("ERR_ENGINE_INCOMPATIBLE",
                     "This addon was built with the headers of TensorRT " + headers.text() + " but " + result.path +
                         " is version " + result.version.text() +
                         ", whose interfaces differ. Build the addon again on this machine: npm run build:native");
  result.symbols.createBuilder =
      symbolOf<decltype(result.symbols.createBuilder)>(infer, path, "createInferBuilder_INTERNAL");
  result.symbols.createRuntime =
      symbolOf<decltype(result.symbols.createRuntime)>(infer, path, "createInferRuntime_INTERNAL");
  result.symbols.pluginRegistry = symbolOf<decltype(result.symbols.pluginRegistry)>(infer, path, "getPluginRegistry");

  std::string parserPath;
  attempts.clear();
  void* parser = openAnywhere("libnvonnxparser" + suffix, search, kFlags, attempts, parserPath);
  if (parser == nullptr)
    throw CodedError("ERR_NATIVE_UNAVAILABLE", "Found " + result.path + " but not libnvonnxparser" + suffix +
                                                   ", which reads the graphs. On a Jetson: sudo apt install "
                                                   "libnvonnxparsers-dev. Looked for:" +
                                                   attempts);
  result.symbols.createParser =
      symbolOf<decltype(result.symbols.createParser)>(parser, parserPath, "createNvOnnxParser_INTERNAL");
  return result;
}

} // namespace scenebus::tensorrt
