#pragma once
#include "common/jobThreads.h"
#include "tensorrt/runtime/model.h"

#include <functional>
#include <memory>

namespace scenebus::tensorrt {

/** A model and the thread that alone touches it. Destroyed from any other thread, which waits for the model's. */
class ModelHost {
 public:
  ModelHost() = default;
  ~ModelHost();
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  JobThreads& thread() { return mThread; }
  /** Runs `job` on the model's thread after what was posted before; it must not throw. Once the model is open. */
  void post(std::function<void(Model&)> job);

  /** On the model's thread, once. Arguments and exceptions are those of `Model`. */
  void open(cuda::Device& device, PlanCache& plans, ModelSpec spec, const OpenListener& listener, CancelFlag cancel);
  /** On the model's thread, once it is open. What does not change of it may be read by any. */
  Model& model() { return *mModel; }

 private:
  std::unique_ptr<Model> mModel;
  JobThreads mThread{"scenebus.model"}; // ends first
};

/**
 * A sequence or an image as callers hold it; its memory is touched on the model's thread alone, and goes back there
 * whoever drops the last share. Holds the model open.
 */
template <typename State>
class Held {
 public:
  explicit Held(std::shared_ptr<ModelHost> host) : mHost(std::move(host)) {}
  ~Held() {
    if (state)
      mHost->post([state = std::make_shared<std::unique_ptr<State>>(std::move(state))](Model& model) {
        model.release(std::move(*state));
      });
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const std::shared_ptr<ModelHost>& host() const { return mHost; }
  /** On the model's thread only. A sequence gets its own with its first step. */
  std::unique_ptr<State> state;

 private:
  std::shared_ptr<ModelHost> mHost;
};

} // namespace scenebus::tensorrt
