#include "gpu/driver/device.h"
#include "gpu/driver/deviceAccess.h"
#include "gpu/driver/driverApi.h"
#include "tests/support/checks.h"

#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

using namespace scenebus::cuda;

TEST_CASE("a machine without the driver library is told which file is missing and what brings it") {
  try {
    driver::loadFrom("libcuda-that-nobody-has.so.1");
    CHECK(false);
  } catch (const CudaError& error) {
    CHECK(error.code() == "ERR_NATIVE_UNAVAILABLE");
    CHECK_MESSAGE(std::strstr(error.what(), "libcuda-that-nobody-has.so.1") != nullptr, "%s", error.what());
    CHECK_MESSAGE(std::strstr(error.what(), "JetPack") != nullptr, "%s", error.what());
  }
}

TEST_CASE("a library that is not the driver is refused by the first symbol that it lacks") {
  try {
    driver::loadFrom("libm.so.6");
    CHECK(false);
  } catch (const CudaError& error) {
    CHECK(error.code() == "ERR_NATIVE_UNAVAILABLE");
    CHECK_MESSAGE(std::strstr(error.what(), "cuInit") != nullptr, "%s", error.what());
  }
}

TEST_CASE("a device file that may not be opened is named with the group whose members may") {
  char name[] = "/tmp/scenebus-devices-XXXXXX";
  const std::filesystem::path root = mkdtemp(name);
  std::filesystem::create_directories(root / "dev/dri");
  for (const char* file : {"dev/dri/renderD128", "dev/nvmap"})
    std::ofstream(root / file) << "";
  const gid_t video = 44; // Debian's
  CHECK(chown((root / "dev/dri/renderD128").c_str(), static_cast<uid_t>(-1), video) == 0);
  const auto closed =
      closedDevices(root, [](const std::string& path) { return path.find("dri") == std::string::npos; });
  CHECK(closed.size() == 1);
  CHECK(closed[0].group == "video");
  const std::string words = describeRefusal(closed);
  CHECK_MESSAGE(words.find("renderD128: it is not in the group video") != std::string::npos, "%s", words.c_str());
  CHECK(closedDevices(root, [](const std::string&) { return true; }).empty());
  CHECK(describeRefusal({}).find("groups video and render") != std::string::npos);
  std::filesystem::remove_all(root);
}

TEST_CASE("openDevice gives a device or says why there is none") {
  try {
    const auto device = openDevice();
    CHECK(device->info().smCount > 0);
    const auto pointer = device->allocate(16);
    device->release(pointer);
  } catch (const CudaError& error) {
    CHECK_MESSAGE(error.code() == "ERR_NATIVE_UNAVAILABLE", "%s", error.what());
    CHECK_MESSAGE(std::strstr(error.what(), "libcuda.so.1") != nullptr, "%s", error.what());
  }
}

TEST_CASE("an error that poisons the context is told apart from one that a new call may survive") {
  for (const int poisoned : {214, 700, 702, 710, 714, 715, 716, 717, 718, 719})
    CHECK_MESSAGE(std::strcmp(driver::codeOf(poisoned), "ERR_ENGINE_DIED") == 0, "%d", poisoned);
  for (const int passing : {1, 209, 500, 701, 999})
    CHECK_MESSAGE(std::strcmp(driver::codeOf(passing), "ERR_ENGINE_FAILED") == 0, "%d", passing);
  CHECK(std::strcmp(driver::codeOf(driver::kErrorOutOfMemory), "ERR_ENGINE_OUT_OF_MEMORY") == 0);
}
