#include "tensorrt/runtime/modelHost.h"

#include <exception>
#include <future>

namespace scenebus::tensorrt {

ModelHost::ModelHost(cuda::Device& device, PlanCache& plans, ModelSpec spec, const OpenListener& listener,
                     CancelFlag abort) {
  std::promise<void> opened;
  mThread.post([&] {
    try {
      mModel = std::make_unique<Model>(device, plans, std::move(spec), listener, abort);
      opened.set_value();
    } catch (...) {
      opened.set_exception(std::current_exception());
    }
  });
  opened.get_future().get();
}

ModelHost::~ModelHost() {
  // The device's memory is freed by the thread that has the device.
  mThread.post([this] { mModel.reset(); });
}

void ModelHost::post(std::function<void(Model&)> job) {
  mThread.post([this, job = std::move(job)] { job(*mModel); });
}

} // namespace scenebus::tensorrt
