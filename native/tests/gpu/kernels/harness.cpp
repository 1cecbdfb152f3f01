#include "tests/gpu/kernels/bench.h"
#include "gpu/driver/kernelImage.h"
#include "tests/gpu/emulation/emulatedDevice.h"
#include "tests/gpu/kernels/kernelTest.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

/**
 * Tests the kernels against their references and measures them, on the first CUDA device of the machine. With --emulate on
 * the emulation, where a measurement only shows that the harness works: its sizes are small and its times mean nothing.
 */
namespace scenebus::test {
namespace {

std::unique_ptr<cuda::Device> openedDevice;
cuda::Stream openedStream = nullptr;
emulation::EmulatedDevice* emulated = nullptr;

int runTests(const char* part) {
  int ran = 0;
  for (const auto& testCase : cases()) {
    if (part != nullptr && testCase.name.find(part) == std::string::npos)
      continue;
    const int before = failures();
    try {
      testCase.run();
    } catch (const std::exception& error) {
      ++failures();
      std::fprintf(stderr, "%s\n", error.what());
    }
    std::printf("%s %s\n", failures() == before ? "ok    " : "FAILED", testCase.name.c_str());
    ++ran;
  }
  std::printf("%d cases, %d failed checks\n", ran, failures());
  return ran > 0 && failures() == 0 ? 0 : 1;
}

/** Every kernel that the emulation knows was compiled by nvcc too, under the same name. */
int checkImages() {
  const auto& all = cuda::kernelImages();
  int missing = 0;
  for (const auto& entry : emulation::kernelRegistry()) {
    // As a whole string of a symbol table.
    const std::string name = std::string(1, '\0') + entry.first + '\0';
    const bool found = std::any_of(all.images.begin(), all.images.end(), [&](const auto& image) {
      return std::string_view(reinterpret_cast<const char*>(image.data), image.bytes).find(name) != std::string_view::npos;
    });
    if (!found) {
      std::fprintf(stderr, "%s is not in the compiled kernels\n", entry.first.c_str());
      ++missing;
    }
  }
  std::printf("%zu kernels in %zu images for %s, %d missing\n", emulation::kernelRegistry().size(), all.images.size(),
              all.description, missing);
  return missing == 0 && !all.images.empty() ? 0 : 1;
}

} // namespace

cuda::Device& device() { return *openedDevice; }
cuda::Stream stream() { return openedStream; }
bool isEmulated() { return emulated != nullptr; }

Bytes runTwice(const std::function<Bytes()>& work) {
  const Bytes first = work();
  if (emulated != nullptr)
    emulated->setOrder(emulation::Order::kBackward);
  const Bytes second = work();
  if (emulated != nullptr)
    emulated->setOrder(emulation::Order::kForward);
  CHECK(first == second);
  return first;
}

} // namespace scenebus::test

int main(int argc, char** argv) {
  using namespace scenebus;
  bool wantsTest = false, wantsBench = false, wantsEmulation = false, wantsImages = false;
  const char* part = nullptr;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--test")
      wantsTest = true;
    else if (argument == "--bench")
      wantsBench = true;
    else if (argument == "--emulate")
      wantsEmulation = true;
    else if (argument == "--check-images")
      wantsImages = true;
    else if (argument.substr(0, 2) != "--")
      part = argv[i];
  }
  if (wantsImages)
    return test::checkImages();
  if (!wantsTest && !wantsBench) {
    std::fprintf(stderr, "usage: kernelHarness [--test] [--bench] [--emulate] [part of a test's name] | --check-images\n");
    return 2;
  }
  try {
    if (wantsEmulation) {
      auto device = std::make_unique<emulation::EmulatedDevice>();
      test::emulated = device.get();
      test::openedDevice = std::move(device);
    } else {
      test::openedDevice = cuda::openDevice();
    }
    test::openedStream = test::openedDevice->createStream();
    int status = wantsTest ? test::runTests(part) : 0;
    if (wantsBench && status == 0) {
      if (wantsEmulation)
        std::printf("On the emulation: small sizes, and times that say nothing of a GPU.\n");
      const auto scale = wantsEmulation ? test::smallBenchScale() : test::BenchScale{};
      std::printf("%s\n", test::runBench(*test::openedDevice, test::openedStream, scale).c_str());
    }
    test::openedDevice->destroyStream(test::openedStream);
    test::openedDevice.reset();
    return status;
  } catch (const cuda::CudaError& error) {
    std::fprintf(stderr, "%s: %s\n", error.code().c_str(), error.what());
    return 3;
  }
}
