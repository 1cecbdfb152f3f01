#include "common/codedError.h"
#include "tensorrt/nvinfer/nvinferEngine.h"
#include "tensorrt/nvinfer/openLibrary.h"
#include "tensorrt/nvinfer/planBuilder.h"
#include "tensorrt/nvinfer/planReader.h"
#include "tensorrt/nvinfer/plugin.h"

#include <utility>

namespace scenebus::tensorrt {
namespace {

class NvinferLibrary final : public InferenceLibrary {
 public:
  NvinferLibrary(LoadedLibraries libraries, cuda::Device& device)
      : mLibraries(std::move(libraries)), mDevice(device) {
    device.makeCurrent();
    mRuntime.reset(
        static_cast<nvinfer1::IRuntime*>(mLibraries.symbols.createRuntime(&mMessages, kVersionForFactories)));
    if (!mRuntime)
      throw CodedError("ERR_ENGINE_INCOMPATIBLE",
                       "TensorRT " + mLibraries.version.text() + " could not be started:" + mMessages.take());
    registerPlugins(mLibraries.symbols, device, mMessages);
  }

  Version version() const override { return mLibraries.version; }
  const std::string& path() const override { return mLibraries.path; }

  std::unique_ptr<PlanBytes> build(const BuildOptions& options, TimingCache& timing,
                                   BuildObserver& observer) override {
    return buildPlan(mLibraries.symbols, mMessages, mDevice, options, timing, observer);
  }

  std::unique_ptr<Engine> load(PlanSource& plan) override {
    mDevice.makeCurrent();
    mMessages.clear();
    auto engine = readPlan(*mRuntime, plan, mDevice, mLibraries.version.number);
    if (!engine) {
      const std::string reasons = mMessages.take();
      throw CodedError(speaksOfMemory(reasons) ? "ERR_ENGINE_OUT_OF_MEMORY" : "ERR_ENGINE_INCOMPATIBLE",
                       "TensorRT cannot read the plan:" + reasons);
    }
    return std::make_unique<NvinferEngine>(std::move(engine), mMessages);
  }

 private:
  LoadedLibraries mLibraries;
  cuda::Device& mDevice;
  Messages mMessages; // outlives everything that writes to it
  std::unique_ptr<nvinfer1::IRuntime> mRuntime;
};

} // namespace

Version headerVersion() { return {kHeaderVersion}; }

std::unique_ptr<InferenceLibrary> openNvinferLibrary(LoadedLibraries libraries, cuda::Device& device) {
  return std::make_unique<NvinferLibrary>(std::move(libraries), device);
}

} // namespace scenebus::tensorrt
