#include "tensorrt/runtime/modelHost.h"

#include <utility>

namespace scenebus::tensorrt {

void ModelHost::open(cuda::Device& device, PlanCache& plans, ModelSpec spec, const OpenListener& listener,
                     CancelFlag cancel) {
  mModel = std::make_unique<Model>(device, plans, std::move(spec), listener, cancel);
}

ModelHost::~ModelHost() {
  // The device's memory is freed by the thread that has the device.
  if (mModel)
    mThread.post([this] { mModel.reset(); });
}

void ModelHost::post(std::function<void(Model&)> job) {
  mThread.post([this, job = std::move(job)] { job(*mModel); });
}

} // namespace scenebus::tensorrt
