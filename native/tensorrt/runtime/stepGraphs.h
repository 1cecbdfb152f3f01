#pragma once
#include "gpu/driver/device.h"
#include "tensorrt/runtime/engineStage.h"

#include <functional>
#include <list>
#include <memory>
#include <string>

namespace scenebus::tensorrt {

/**
 * Runs steps of one stage, recorded as CUDA graphs where that pays: launching a graph costs the processor a fraction of
 * launching its kernels. A graph serves one combination of shapes and addresses. The first step of a combination runs
 * plainly; the second in a context of its own, which is then recorded; later ones launch the graph. The context is
 * never changed afterwards, since TensorRT leaves undefined what a graph does whose context was.
 */
class StepGraphs {
 public:
  using Notice = std::function<void(const std::string&)>;

  StepGraphs(cuda::Device& device, EngineStage& stage, cuda::DevicePointer scratch, std::uint64_t scratchBytes, Notice notice);

  /** Puts the step into the stream and returns the context that knows the outputs' shapes. */
  Context& run(const StepSetting& setting, cuda::Stream stream);

  bool isRecording() const { return mIsRecording; }
  std::size_t recorded() const { return mRecorded.size(); }

 private:
  struct Recorded {
    std::string key;
    std::unique_ptr<Context> context;          // outlives the graph
    std::unique_ptr<cuda::GraphExec> graph;
  };

  Context& runPlainly(const StepSetting& setting, cuda::Stream stream);
  Context* record(const StepSetting& setting, const std::string& key, cuda::Stream stream);

  cuda::Device& mDevice;
  EngineStage& mStage;
  cuda::DevicePointer mScratch;
  std::uint64_t mScratchBytes;
  Notice mNotice;
  bool mIsRecording;
  std::list<Recorded> mRecorded; // most recently used first
  std::list<std::string> mSeen;  // combinations that ran once, the latest first
};

} // namespace scenebus::tensorrt
