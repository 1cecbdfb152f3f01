#include "tests/support/checks.h"
#include "tensorrt/runtime/runtime.h"
#include "tests/tensorrt/support/testFolder.h"

using namespace scenebus;
using namespace scenebus::test;

TEST_CASE("without headers: says that the build lacks TensorRT and what to install") {
  CHECK(tensorrt::compiledFor().empty());
  for (const std::string& failure : {failureOf([] { tensorrt::installedLibraries(); }),
                                     failureOf([] { tensorrt::inferenceLibrary(); })})
    CHECK_MESSAGE(contains(failure, "ERR_NATIVE_UNAVAILABLE") && contains(failure, "libnvinfer-headers-dev"), "%s",
                  failure.c_str());
}
