#pragma once
#include "addon/failure.h"
#include "common/cancelFlag.h"
#include "common/jobThreads.h"

#include <napi.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace scenebus::addon {

/**
 * The asynchronous calls of one environment (the main thread or a Worker). They run on threads of the addon: libuv's pool
 * stays free for `fs`, `crypto` and sharp.
 *
 * When the environment ends, what still runs is told to stop and waited for: it uses memory of the environment's heap,
 * and code that may be unloaded with it. A process that calls `process.exit` waits for nothing.
 */
class Jobs : public std::enable_shared_from_this<Jobs> {
 public:
  /** On a thread of `JobThreads`. `cancel` is the caller's flag, set also when the environment ends. */
  using Work = std::function<void(CancelFlag cancel)>;
  /** On the thread of JavaScript. */
  using Result = std::function<Napi::Value(Napi::Env)>;

  /** Once for each environment, when it loads the addon. */
  static void install(Napi::Env env);
  static Jobs& of(Napi::Env env);
  ~Jobs();

  /**
   * Runs `work`, then settles the promise with what `result` makes of it, or with what either of them threw. Both are
   * destroyed on the thread of JavaScript.
   * @param threads whoever owns them lives until the promise is settled
   * @param held values whose memory the work reads or writes
   */
  Napi::Promise start(std::shared_ptr<JobThreads> threads, CancelFlag cancel, Work work, Result result,
                      const std::vector<Napi::Value>& held);

  /** For work of some ten milliseconds that belongs to no object with threads of its own. */
  const std::shared_ptr<JobThreads>& shortThreads() const { return mShortThreads; }

 private:
  friend class JsCallback;
  struct Job;
  using Call = std::function<void(Napi::Env)>;

  explicit Jobs(Napi::Env env);
  void open();
  void run(Job& job) noexcept;
  /** From any thread: `call` soon runs on the thread of JavaScript, unless the environment ends before. */
  void post(Call call);
  void takeOne(Napi::Env env);
  void settle(Napi::Env env, Job& job) noexcept;
  std::unique_ptr<Job> takeFinished();
  void end() noexcept;

  Napi::Env mEnv;
  std::shared_ptr<JobThreads> mShortThreads;
  napi_threadsafe_function mQueue = nullptr;
  int mUnsettled = 0; // of the thread of JavaScript; the environment stays alive while there are any

  std::mutex mMutex;
  std::condition_variable mAllFinished;
  int mRunning = 0;
  std::int32_t mIsEnding = 0; // atomic; a CancelFlag looks at it
  std::deque<Call> mCalls;
  // Finished and not yet settled, in order; a list through the jobs, because adding to it must not fail.
  std::unique_ptr<Job> mFirstFinished;
  Job* mLastFinished = nullptr;

  // Functions that other threads call, by number: a reference to one must not leave the thread of JavaScript.
  std::unordered_map<std::uint64_t, Napi::FunctionReference> mFunctions;
  std::uint64_t mNextFunction = 0;
};

/** A function of JavaScript that any thread may call and let go of. It does not keep the environment alive. */
class JsCallback {
 public:
  using Arguments = std::function<std::vector<napi_value>(Napi::Env)>;

  /** On the thread of JavaScript. */
  JsCallback(Napi::Env env, const Napi::Function& function);
  ~JsCallback();
  JsCallback(const JsCallback&) = delete;
  JsCallback& operator=(const JsCallback&) = delete;

  /** Calls it soon, without waiting for that. `arguments` are made on the thread of JavaScript. */
  void call(Arguments arguments) const;

 private:
  std::shared_ptr<Jobs> mJobs;
  std::uint64_t mNumber;
};

/** The result of a call that returns nothing. */
inline Napi::Value nothing(Napi::Env env) { return env.Undefined(); }

} // namespace scenebus::addon
