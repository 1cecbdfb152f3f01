#pragma once
#include "gpu/driver/device.h"
#include "gpu/driver/driverApi.h"

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace scenebus::cuda {

/** A CUDA device through the driver API. Calls may come from any thread that has made it current. */
class DriverDevice final : public Device {
 public:
  DriverDevice(const driver::Api& api, int ordinal);
  ~DriverDevice() override;
  DriverDevice(const DriverDevice&) = delete;
  DriverDevice& operator=(const DriverDevice&) = delete;

  const DeviceInfo& info() const override { return mInfo; }
  std::uint64_t freeBytes() override;
  void makeCurrent() override;
  DevicePointer allocate(std::size_t bytes) override;
  void release(DevicePointer) noexcept override;
  bool isDeviceMemory(DevicePointer address) override;
  void* allocatePinned(std::size_t bytes) override;
  void releasePinned(void*) noexcept override;
  Stream createStream() override;
  void destroyStream(Stream) noexcept override;
  void synchronize(Stream) override;
  void copyToDevice(DevicePointer to, const void* from, std::size_t bytes, Stream) override;
  void copyToHost(void* to, DevicePointer from, std::size_t bytes, Stream) override;
  void copyOnDevice(DevicePointer to, DevicePointer from, std::size_t bytes, Stream) override;
  void fill(DevicePointer to, std::uint8_t value, std::size_t bytes, Stream) override;
  bool hasKernels() const override;
  void launch(const KernelCall&, Stream) override;
  std::unique_ptr<GraphExec> capture(Stream, const std::function<void()>& work) override;
  void launchGraph(GraphExec&, Stream) override;
  Event createEvent() override;
  void destroyEvent(Event) noexcept override;
  void recordEvent(Event, Stream) override;
  double elapsedMs(Event begin, Event end) override;

 private:
  struct LoadedFunction {
    driver::Function handle = nullptr;
    unsigned sharedBytes = 48 * 1024;
  };

  void check(driver::Result, const std::string& what) const;
  LoadedFunction& function(const char* name);

  const driver::Api& mApi;
  driver::DeviceOrdinal mDevice = 0;
  driver::Context mContext = nullptr;
  DeviceInfo mInfo;
  std::mutex mFunctionsMutex;
  /** Of the first images; the others are loaded when a kernel is not in these. */
  std::vector<driver::Module> mModules;
  std::map<std::string, LoadedFunction, std::less<>> mFunctions;
};

} // namespace scenebus::cuda
