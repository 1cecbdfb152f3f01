#include "addon/jobs.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

namespace scenebus::addon {

struct Jobs::Job {
  Napi::Promise::Deferred deferred;
  std::shared_ptr<JobThreads> threads;
  CancelFlag cancel;
  Work work;
  Result result;
  std::vector<Napi::ObjectReference> held;
  std::optional<Failure> failure;
  std::unique_ptr<Job> next;
};

void Jobs::install(Napi::Env env) {
  auto jobs = std::make_unique<std::shared_ptr<Jobs>>(new Jobs(env));
  (*jobs)->open();
  env.SetInstanceData(jobs.release()); // goes with the environment, after its last hook
}

Jobs& Jobs::of(Napi::Env env) { return **env.GetInstanceData<std::shared_ptr<Jobs>>(); }

Jobs::~Jobs() = default;

Jobs::Jobs(Napi::Env env)
    : mEnv(env), mShortThreads(std::make_shared<JobThreads>(
                     "scenebus.jobs", static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 4u)))) {}

void Jobs::open() {
  const auto take = [](napi_env env, napi_value, void* jobs, void*) {
    if (env != nullptr)
      static_cast<Jobs*>(jobs)->takeOne(env);
  };
  const napi_status status =
      napi_create_threadsafe_function(mEnv, nullptr, nullptr, Napi::String::New(mEnv, "scenebus.jobs"), 0, 1, nullptr,
                                      nullptr, this, take, &mQueue);
  if (status != napi_ok)
    throw Napi::Error::New(mEnv, "Cannot create the addon's queue of finished calls");
  napi_unref_threadsafe_function(mEnv, mQueue);
  // After the queue's own hook, thus called before it.
  mEnv.AddCleanupHook([](Jobs* jobs) { jobs->end(); }, this);
}

Napi::Promise Jobs::start(std::shared_ptr<JobThreads> threads, CancelFlag cancel, Work work, Result result,
                          const std::vector<Napi::Value>& held) {
  auto job = std::unique_ptr<Job>(new Job{Napi::Promise::Deferred::New(mEnv), std::move(threads),
                                          {cancel.value, &mIsEnding}, std::move(work), std::move(result), {}, {}, {}});
  for (const auto& value : held)
    job->held.push_back(Napi::Persistent(value.As<Napi::Object>()));
  const Napi::Promise promise = job->deferred.Promise();
  {
    const std::lock_guard<std::mutex> lock(mMutex);
    ++mRunning;
  }
  Job* const address = job.get();
  try {
    job->threads->post([this, address] { run(*address); });
  } catch (...) {
    const Failure failure = currentFailure();
    {
      const std::lock_guard<std::mutex> lock(mMutex);
      --mRunning;
    }
    job->deferred.Reject(jsError(mEnv, failure).Value());
    return promise;
  }
  job.release(); // its thread's, until `takeOne` takes it back
  if (mUnsettled++ == 0)
    napi_ref_threadsafe_function(mEnv, mQueue);
  return promise;
}

void Jobs::run(Job& job) noexcept {
  try {
    job.cancel.check(); // it may have waited long for its turn
    job.work(job.cancel);
  } catch (...) {
    job.failure = currentFailure();
  }
  // All of it under the lock: `end` then knows that nobody touches the queue or this object any more.
  const std::lock_guard<std::mutex> lock(mMutex);
  Job* const last = std::exchange(mLastFinished, &job);
  (last == nullptr ? mFirstFinished : last->next).reset(&job);
  if (mIsEnding == 0)
    napi_call_threadsafe_function(mQueue, nullptr, napi_tsfn_nonblocking);
  if (--mRunning == 0)
    mAllFinished.notify_all();
}

std::unique_ptr<Jobs::Job> Jobs::takeFinished() {
  const std::lock_guard<std::mutex> lock(mMutex);
  auto job = std::move(mFirstFinished);
  if (job) {
    mFirstFinished = std::move(job->next);
    if (!mFirstFinished)
      mLastFinished = nullptr;
  }
  return job;
}

void Jobs::post(Call call) {
  const std::lock_guard<std::mutex> lock(mMutex);
  if (mIsEnding != 0)
    return;
  mCalls.push_back(std::move(call));
  napi_call_threadsafe_function(mQueue, nullptr, napi_tsfn_nonblocking);
}

void Jobs::takeOne(Napi::Env env) {
  // Calls go first: they were made by jobs that had not finished.
  Call call;
  {
    const std::lock_guard<std::mutex> lock(mMutex);
    if (!mCalls.empty()) {
      call = std::move(mCalls.front());
      mCalls.pop_front();
    }
  }
  if (call) {
    try {
      call(env);
    } catch (const Napi::Error& error) {
      // Node only warns of what is thrown from here; it shall be an uncaught exception, as of any other listener.
      napi_fatal_exception(env, error.Value());
    } catch (...) {
      napi_fatal_exception(env, jsError(env, currentFailure()).Value());
    }
    return;
  }
  const auto job = takeFinished();
  if (!job)
    return;
  if (--mUnsettled == 0)
    napi_unref_threadsafe_function(env, mQueue);
  settle(env, *job);
}

void Jobs::settle(Napi::Env env, Job& job) noexcept {
  try {
    if (!job.failure) {
      try {
        job.deferred.Resolve(job.result(env));
        return;
      } catch (const Napi::Error& error) {
        job.deferred.Reject(error.Value());
        return;
      } catch (...) {
        job.failure = currentFailure();
      }
    }
    job.deferred.Reject(jsError(env, *job.failure).Value());
  } catch (...) {
    // The environment is being stopped, or there is no memory for an error: nobody can be told.
  }
}

void Jobs::end() noexcept {
  {
    std::unique_lock<std::mutex> lock(mMutex);
    __atomic_store_n(&mIsEnding, 1, __ATOMIC_RELAXED);
    mAllFinished.wait(lock, [this] { return mRunning == 0; });
  }
  while (takeFinished()) {
    // Nobody waits for them.
  }
  mCalls.clear();
  mFunctions.clear();
  mShortThreads.reset();
  napi_release_threadsafe_function(mQueue, napi_tsfn_abort);
}

JsCallback::JsCallback(Napi::Env env, const Napi::Function& function)
    : mJobs(Jobs::of(env).shared_from_this()), mNumber(mJobs->mNextFunction++) {
  mJobs->mFunctions.emplace(mNumber, Napi::Persistent(function));
}

JsCallback::~JsCallback() {
  try {
    mJobs->post([jobs = mJobs.get(), number = mNumber](Napi::Env) { jobs->mFunctions.erase(number); });
  } catch (const std::exception&) {
    // No memory: the function stays until the environment ends.
  }
}

void JsCallback::call(Arguments arguments) const {
  mJobs->post([jobs = mJobs.get(), number = mNumber, arguments = std::move(arguments)](Napi::Env env) {
    const auto found = jobs->mFunctions.find(number);
    if (found != jobs->mFunctions.end())
      found->second.Call(arguments(env));
  });
}

} // namespace scenebus::addon
