#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/nvinfer/headers.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace scenebus::tensorrt {

#if SCENEBUS_NVINFER_READER_V1
/** Feeds a plan piece by piece, so that it is not whole in memory beside what TensorRT makes of it. */
class PlanReader final : public nvinfer1::IStreamReader {
 public:
  explicit PlanReader(PlanSource& source) : mSource(source) {}
  std::int64_t read(void* destination, std::int64_t bytes) override {
    return bytes < 0 ? -1 : static_cast<std::int64_t>(mSource.read(destination, static_cast<std::size_t>(bytes)));
  }

 private:
  PlanSource& mSource;
};
#endif

#if SCENEBUS_NVINFER_READER_V2
/** The same for versions that may read straight to the device, and not in order. */
class PlanReaderV2 final : public nvinfer1::IStreamReaderV2 {
 public:
  PlanReaderV2(PlanSource& source, cuda::Device& device) : mSource(source), mDevice(device) {}

  std::int64_t read(void* destination, std::int64_t bytes, cudaStream_t stream) noexcept override {
    try {
      if (bytes < 0)
        return -1;
      const auto address = reinterpret_cast<cuda::DevicePointer>(destination);
      if (!mDevice.isDeviceMemory(address))
        return static_cast<std::int64_t>(mSource.read(destination, static_cast<std::size_t>(bytes)));
      mStaging.resize(kStagingBytes);
      std::int64_t done = 0;
      while (done < bytes) {
        const std::size_t got = mSource.read(
            mStaging.data(), static_cast<std::size_t>(std::min<std::int64_t>(bytes - done, kStagingBytes)));
        if (got == 0)
          break;
        mDevice.copyToDevice(address + static_cast<std::uint64_t>(done), mStaging.data(), got, stream);
        mDevice.synchronize(stream); // the staging buffer is filled again
        done += static_cast<std::int64_t>(got);
      }
      return done;
    } catch (...) {
      return -1; // exceptions must not pass through TensorRT; its own message names the plan as unreadable
    }
  }

  bool seek(std::int64_t offset, nvinfer1::SeekPosition where) noexcept override {
    std::int64_t base = 0;
    if (where == nvinfer1::SeekPosition::kCUR)
      base = static_cast<std::int64_t>(mSource.position());
    else if (where == nvinfer1::SeekPosition::kEND)
      base = static_cast<std::int64_t>(mSource.sizeBytes());
    return base + offset >= 0 && mSource.seek(static_cast<std::uint64_t>(base + offset));
  }

 private:
  static constexpr std::int64_t kStagingBytes = 8 << 20;
  PlanSource& mSource;
  cuda::Device& mDevice;
  std::vector<std::uint8_t> mStaging;
};
#endif

/** With the interface that both header and library have. */
inline std::unique_ptr<nvinfer1::ICudaEngine> readPlan(nvinfer1::IRuntime& runtime, PlanSource& source,
                                                       cuda::Device& device, int libraryVersion) {
#if SCENEBUS_NVINFER_READER_V2
  if (libraryVersion >= kFirstWithReaderV2) {
    PlanReaderV2 reader(source, device);
    return std::unique_ptr<nvinfer1::ICudaEngine>(runtime.deserializeCudaEngine(reader));
  }
#endif
#if SCENEBUS_NVINFER_READER_V1
  static_cast<void>(device);
  static_cast<void>(libraryVersion);
  PlanReader reader(source);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // what a library before 10.7 has
  return std::unique_ptr<nvinfer1::ICudaEngine>(runtime.deserializeCudaEngine(reader));
#pragma GCC diagnostic pop
#else
  return nullptr; // not reached: a library of version 11 or later has the other reader
#endif
}

} // namespace scenebus::tensorrt
