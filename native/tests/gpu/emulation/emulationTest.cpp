#include "tests/support/checks.h"
#include "tests/gpu/emulation/emulatedDevice.h"

#include <cstring>
#include <numeric>
#include <vector>

using namespace scenebus;
using namespace scenebus::emulation;
using cuda::CudaError;

namespace {

template <typename Work> std::string errorOf(Work work) {
  try {
    work();
  } catch (const CudaError& error) {
    return error.code();
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/** to[i] = from[i] + add, the block's values reversed through shared memory. */
void reverseBlock(float* to, const float* from, float add, int forgetBarrier) {
  const GpuThread& self = currentThread();
  auto* shared = reinterpret_cast<float*>(self.shared);
  const unsigned i = self.threadIdx.x, count = self.blockDim.x, base = self.blockIdx.x * count;
  shared[i] = from[base + i] + add;
  if (forgetBarrier == 0)
    currentThread().blockBarrier();
  to[base + i] = shared[count - 1 - i];
}

void divergentBarrier() {
  if (currentThread().threadIdx.x < 32)
    currentThread().blockBarrier();
}

void divergentLanes() {
  if (currentThread().threadIdx.x != 5)
    currentThread().blockBarrier();
}

void writeBehind(unsigned char* data, int at) {
  if (currentThread().threadIdx.x == 0)
    data[at] = 1;
}

void writeBehindShared(int at) {
  if (currentThread().threadIdx.x == 0)
    currentThread().shared[at] = 1;
}

const bool registered = registerKernel("reverseBlock", 128, reverseBlock) &&
                        registerKernel("divergentBarrier", 128, divergentBarrier) &&
                        registerKernel("divergentLanes", 128, divergentLanes) &&
                        registerKernel("writeBehind", 128, writeBehind) &&
                        registerKernel("writeBehindShared", 128, writeBehindShared);

template <typename... Arguments>
void launch(cuda::Device& device, cuda::Stream stream, const char* name, unsigned blocks, unsigned threads,
            unsigned shared, Arguments... values) {
  void* arguments[sizeof...(values) + 1] = {&values...};
  device.launch({name, {blocks}, {threads}, shared, arguments}, stream);
}

} // namespace

TEST_CASE("a kernel runs with barriers and shared memory, alone and from a graph that keeps its arguments") {
  CHECK(registered);
  EmulatedDevice device;
  const auto stream = device.createStream();
  std::vector<float> values(128), result(128);
  std::iota(values.begin(), values.end(), 0.0f);
  cuda::DeviceBuffer from(device, 512), to(device, 512);
  device.copyToDevice(from.get(), values.data(), 512, stream);
  for (const auto order : {Order::kForward, Order::kBackward}) {
    device.setOrder(order);
    launch(device, stream, "reverseBlock", 2, 64, 256, to.get(), from.get(), 1.0f, 0);
    device.copyToHost(result.data(), to.get(), 512, stream);
    device.synchronize(stream);
    CHECK(result[0] == 64.0f && result[63] == 1.0f && result[64] == 128.0f);
  }
  auto graph = device.capture(stream, [&] {
    launch(device, stream, "reverseBlock", 2, 64, 256, to.get(), from.get(), 7.0f, 0);
    device.copyToHost(result.data(), to.get(), 512, stream);
  });
  CHECK(result[0] == 64.0f);
  device.launchGraph(*graph, stream);
  CHECK(result[0] == 70.0f);
  device.destroyStream(stream);
}

TEST_CASE("a forgotten barrier shows as unwritten memory") {
  EmulatedDevice device;
  const auto stream = device.createStream();
  cuda::DeviceBuffer from(device, 256), to(device, 256);
  device.fill(from.get(), 0, 256, stream);
  launch(device, stream, "reverseBlock", 1, 64, 256, to.get(), from.get(), 1.0f, 1);
  float first = 0;
  device.copyToHost(&first, to.get(), 4, stream);
  CHECK(first != first);
}

TEST_CASE("divergent barriers and writes beyond memory are errors") {
  EmulatedDevice device;
  const auto stream = device.createStream();
  cuda::DeviceBuffer buffer(device, 100);
  CHECK(contains(errorOf([&] { launch(device, stream, "divergentBarrier", 1, 64, 0); }), "some warps ended"));
  CHECK(contains(errorOf([&] { launch(device, stream, "divergentLanes", 1, 64, 0); }), "diverge"));
  CHECK(contains(errorOf([&] { launch(device, stream, "writeBehindShared", 1, 32, 20, 20); }), "beyond its 20 bytes"));
  CHECK(contains(errorOf([&] { launch(device, stream, "writeBehindShared", 1, 160, 20, 20); }), "160 threads"));
#if !defined(__SANITIZE_ADDRESS__) // which would end the program, for the same reason
  CHECK(contains(errorOf([&] { launch(device, stream, "writeBehind", 1, 32, 0, buffer.get(), 100); }),
                 "beyond an allocation of 100 bytes"));
#endif
  CHECK(contains(errorOf([&] { device.fill(buffer.get() + 90, 0, 11, stream); }), "outside device memory"));
}

TEST_CASE("memory runs out where the test says, and failures come when they are ordered") {
  EmulatedDevice device(1000);
  const auto stream = device.createStream();
  const auto first = device.allocate(600);
  CHECK(device.freeBytes() == 400);
  CHECK(errorOf([&] { device.allocate(401); }) == "ERR_ENGINE_OUT_OF_MEMORY");
  device.release(first);
  CHECK(device.freeBytes() == 1000 && device.liveAllocations() == 0);

  cuda::DeviceBuffer buffer(device, 16);
  device.failAt(Operation::kCopy, 2);
  device.copyOnDevice(buffer.get(), buffer.get(), 16, stream);
  CHECK(errorOf([&] { device.copyOnDevice(buffer.get(), buffer.get(), 16, stream); }) == "ERR_ENGINE_FAILED");
  device.copyOnDevice(buffer.get(), buffer.get(), 16, stream);
  device.failAt(Operation::kCapture, 1, "ERR_ENGINE_OUT_OF_MEMORY");
  CHECK(errorOf([&] { device.capture(stream, [] {}); }) == "ERR_ENGINE_OUT_OF_MEMORY");
  CHECK(contains(errorOf([&] { device.capture(stream, [&] { device.synchronize(stream); }); }), "not allowed"));
  device.synchronize(stream);
  device.setKernels(false);
  CHECK(errorOf([&] { launch(device, stream, "reverseBlock", 1, 32, 0); }) == "ERR_NATIVE_UNAVAILABLE");
}
