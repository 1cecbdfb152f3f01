#pragma once
#include "addon/promiseWorker.h"
#include "tensorrt/runtime/modelHost.h"

#include <memory>

namespace scenebus::addon {

/** Runs `execute` on a model's own thread and settles a promise with what `result` makes of it on the JS thread. */
class ModelCall {
 public:
  using Work = std::function<void(tensorrt::Model&)>;
  using Result = std::function<Napi::Value(Napi::Env)>;

  /** @param held values whose memory the call reads or writes */
  static Napi::Promise start(Napi::Env env, std::shared_ptr<tensorrt::ModelHost> host, Work execute, Result result,
                             const std::vector<Napi::Value>& held) {
    auto* call = new ModelCall(env, std::move(host), std::move(execute), std::move(result), held);
    const Napi::Promise promise = call->mDeferred.Promise();
    call->mHost->post([call](tensorrt::Model& model) {
      try {
        call->mExecute(model);
      } catch (...) {
        call->mFailure = currentFailure();
      }
      // Refused only when the environment ends. The call then stays: what it holds belongs to the JS thread.
      Napi::ThreadSafeFunction settle = call->mSettle;
      settle.BlockingCall(call, [](Napi::Env env, Napi::Function, ModelCall* done) {
        const std::unique_ptr<ModelCall> owner(done);
        done->settle(env);
      });
      settle.Release();
    });
    return promise;
  }

 private:
  ModelCall(Napi::Env env, std::shared_ptr<tensorrt::ModelHost> host, Work execute, Result result,
            const std::vector<Napi::Value>& held)
      : mDeferred(Napi::Promise::Deferred::New(env)), mHost(std::move(host)), mExecute(std::move(execute)),
        mResult(std::move(result)),
        mSettle(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                              "scenebus.tensorrt", 0, 1)) {
    for (const auto& value : held)
      mHeld.push_back(Napi::Persistent(value.As<Napi::Object>()));
  }

  void settle(Napi::Env env) {
    if (mFailure.code.empty()) {
      mDeferred.Resolve(mResult(env));
      return;
    }
    Napi::Error error = Napi::Error::New(env, mFailure.message);
    error.Set("code", mFailure.code);
    mDeferred.Reject(error.Value());
  }

  Napi::Promise::Deferred mDeferred;
  std::shared_ptr<tensorrt::ModelHost> mHost; // let go on the JS thread: the model's own cannot end itself
  Work mExecute;
  Result mResult;
  Napi::ThreadSafeFunction mSettle;
  std::vector<Napi::ObjectReference> mHeld;
  Failure mFailure;
};

} // namespace scenebus::addon
