// An addon for tests of the asynchronous calls (test/native/jobs.test.ts): its work lasts until it is told to end.
#include "addon/deferredDeletion.h"
#include "addon/handles.h"
#include "addon/jobs.h"
#include "addon/nodeValues.h"

#include <time.h>

#include <memory>
#include <new>
#include <string>

namespace scenebus::addon {
namespace {

constexpr napi_type_tag kTag{0x3f2d9b0c5e6a4b11, 0x8a1e0d7c2b3f4e01};

/** Ends with its thread, as a decoder does. */
struct Owner {
  JobThreads threads{"jobs.test"};
  std::int64_t ran = 0;
};

void awaitGate(const std::int32_t* gate, CancelFlag cancel) {
  while (__atomic_load_n(gate, __ATOMIC_ACQUIRE) == 0) {
    cancel.check();
    const timespec pause{0, 1'000'000};
    nanosleep(&pause, nullptr);
  }
}

Napi::Value resultOf(Napi::Env env, const std::string& kind, std::int64_t ran) {
  if (kind == "result: bad_alloc")
    throw std::bad_alloc();
  if (kind == "result: unknown")
    throw 1;
  if (kind == "result: TypeError")
    throw Napi::TypeError::New(env, "the result is wrong");
  return Napi::Number::New(env, static_cast<double>(ran));
}

/** createOwner(bytes) -> handle */
Napi::Value createOwner(const Napi::CallbackInfo& info) {
  return makeHandle(info.Env(), deferredDeleter().keep(std::make_shared<Owner>()), kTag,
                    static_cast<std::size_t>(info[0].As<Napi::Number>().Int64Value()));
}

Napi::Value releaseOwner(const Napi::CallbackInfo& info) {
  releaseHandle<Owner>(info[0], kTag);
  return info.Env().Undefined();
}

/** run(owner or null, gate, cancel, kind) -> Promise<how many jobs of the owner have ended> */
Napi::Value run(const Napi::CallbackInfo& info) {
  Jobs& jobs = Jobs::of(info.Env());
  const auto owner = info[0].IsNull() ? nullptr : requireHandle<Owner>(info[0], kTag);
  const std::int32_t* gate = requireInts(info[1]).Data();
  const std::string kind = info[3].As<Napi::String>().Utf8Value();
  const auto ran = std::make_shared<std::int64_t>(0);
  return jobs.start(
      owner ? std::shared_ptr<JobThreads>(owner, &owner->threads) : jobs.shortThreads(), requireFlag(info[2]),
      [=](CancelFlag cancel) {
        awaitGate(gate, cancel);
        if (kind == "work: bad_alloc")
          throw std::bad_alloc();
        if (kind == "work: unknown")
          throw 1;
        *ran = owner ? ++owner->ran : 0;
      },
      [=](Napi::Env env) { return resultOf(env, kind, *ran); }, {info[1], info[2]});
}

/** report(gate, count, onNumber(n)) -> Promise; calls `onNumber` `count` times before it settles */
Napi::Value report(const Napi::CallbackInfo& info) {
  Jobs& jobs = Jobs::of(info.Env());
  const std::int32_t* gate = requireInts(info[0]).Data();
  const int count = info[1].As<Napi::Number>().Int32Value();
  const auto callback = std::make_shared<JsCallback>(info.Env(), info[2].As<Napi::Function>());
  return jobs.start(
      jobs.shortThreads(), {},
      [=](CancelFlag cancel) {
        for (int i = 0; i < count; ++i)
          callback->call([i](Napi::Env env) -> std::vector<napi_value> { return {Napi::Number::New(env, i)}; });
        awaitGate(gate, cancel);
      },
      nothing, {info[0]});
}

/** externalBytes(): what the garbage collector was told of, by everybody. */
Napi::Value externalBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(),
                           static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0)));
}

/** fail(): an exception of C++ in a call that is not asynchronous. */
Napi::Value fail(const Napi::CallbackInfo&) { throw std::bad_alloc(); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  deferDeletions(env);
  Jobs::install(env);
  exports.Set("createOwner", Napi::Function::New(env, createOwner));
  exports.Set("releaseOwner", Napi::Function::New(env, releaseOwner));
  exports.Set("run", Napi::Function::New(env, run));
  exports.Set("report", Napi::Function::New(env, report));
  exports.Set("externalBytes", Napi::Function::New(env, externalBytes));
  exports.Set("fail", Napi::Function::New(env, fail));
  return exports;
}

NODE_API_MODULE(scenebus_jobs_test, init)

} // namespace
} // namespace scenebus::addon
