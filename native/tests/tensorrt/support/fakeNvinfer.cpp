// Stands in for libnvinfer and libnvonnxparser in tests of the loader; built several times with other versions and
// symbols (CMakeLists.txt).
#include <cstdint>

#define EXPORTED extern "C" __attribute__((visibility("default")))

#ifdef FAKE_PARSER
EXPORTED void* createNvOnnxParser_INTERNAL(void*, void*, int) { return nullptr; }
#else
EXPORTED std::int32_t getInferLibVersion() { return FAKE_VERSION; }
EXPORTED void* createInferBuilder_INTERNAL(void*, std::int32_t) { return nullptr; }
EXPORTED void* getPluginRegistry() { return nullptr; }
#ifndef FAKE_WITHOUT_RUNTIME
EXPORTED void* createInferRuntime_INTERNAL(void*, std::int32_t) { return nullptr; }
#endif
#endif
