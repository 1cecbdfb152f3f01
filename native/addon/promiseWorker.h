#pragma once
#include "common/cancelFlag.h"
#include "common/codedError.h"
#include "gpu/driver/device.h"

#include <napi.h>

#include <functional>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace scenebus::addon {

/** What an exception is for JavaScript. */
struct Failure {
  std::string code, message;
};

/** Of the exception that is being handled. */
inline Failure currentFailure() {
  try {
    throw;
  } catch (const CodedError& error) {
    return {error.code(), error.what()};
  } catch (const cuda::CudaError& error) {
    return {error.code, error.what()};
  } catch (const Aborted&) {
    return {"ABORTED", "the call was aborted"};
  } catch (const std::bad_alloc&) {
    return {"ERR_ENGINE_OUT_OF_MEMORY", "not enough memory; choose a shorter contextLength or a smaller model"};
  } catch (const std::exception& error) {
    return {"ERR_ENGINE_FAILED", error.what()};
  }
}

/** Runs `execute` on libuv's pool and settles a promise with what `result` makes of it on the JS thread. */
class PromiseWorker : public Napi::AsyncWorker {
 public:
  using Work = std::function<void()>;
  using Result = std::function<Napi::Value(Napi::Env)>;

  PromiseWorker(Napi::Env env, Work execute, Result result)
      : Napi::AsyncWorker(env, "scenebus.engine"), mDeferred(Napi::Promise::Deferred::New(env)),
        mExecute(std::move(execute)), mResult(std::move(result)) {}

  /** Keeps a buffer alive that the call reads or writes. */
  void hold(const Napi::Value& value) { mHeld.push_back(Napi::Persistent(value.As<Napi::Object>())); }

  Napi::Promise start() {
    const Napi::Promise promise = mDeferred.Promise();
    Queue();
    return promise;
  }

  void Execute() override {
    try {
      mExecute();
    } catch (...) {
      const Failure failure = currentFailure();
      mCode = failure.code;
      SetError(failure.message);
    }
  }

  void OnOK() override { mDeferred.Resolve(mResult(Env())); }

  void OnError(const Napi::Error& error) override {
    Napi::Object value = error.Value();
    value.Set("code", mCode);
    mDeferred.Reject(value);
  }

 private:
  Napi::Promise::Deferred mDeferred;
  Work mExecute;
  Result mResult;
  std::vector<Napi::ObjectReference> mHeld;
  std::string mCode = "ERR_ENGINE_FAILED";
};

inline Napi::Value nothing(Napi::Env env) { return env.Undefined(); }

} // namespace scenebus::addon
