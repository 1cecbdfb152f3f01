#include "capture/gstElements.h"

#include <dlfcn.h>

namespace scenebus::capture {

namespace {

// The two functions of GStreamer's stable C interface that are needed (gst/gst.h, gst/gstelementfactory.h).
using InitCheck = int (*)(int*, char***, void**);
using FindFactory = void* (*)(const char*);

} // namespace

std::vector<std::string> missingGstElements(const std::vector<std::string>& names) {
  // OpenCV has it loaded already; it stays loaded, as GStreamer demands.
  void* library = dlopen("libgstreamer-1.0.so.0", RTLD_NOW | RTLD_GLOBAL);
  if (!library)
    return {};
  const auto initCheck = reinterpret_cast<InitCheck>(dlsym(library, "gst_init_check"));
  const auto findFactory = reinterpret_cast<FindFactory>(dlsym(library, "gst_element_factory_find"));
  if (!initCheck || !findFactory || initCheck(nullptr, nullptr, nullptr) == 0)
    return {};
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    if (!findFactory(name.c_str())) // a reference to a factory is kept by the registry anyway: not worth unreferencing
      missing.push_back(name);
  }
  return missing;
}

} // namespace scenebus::capture
