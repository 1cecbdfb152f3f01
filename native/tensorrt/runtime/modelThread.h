#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace scenebus::tensorrt {

/** One thread that does everything with one model, in the order in which it was asked. */
class ModelThread {
 public:
  ModelThread() : mThread([this] { work(); }) {}
  /** Does what was asked before, then ends. Not from the thread itself. */
  ~ModelThread() {
    {
      const std::lock_guard<std::mutex> guard(mMutex);
      mIsEnding = true;
    }
    mChanged.notify_one();
    mThread.join();
  }
  ModelThread(const ModelThread&) = delete;
  ModelThread& operator=(const ModelThread&) = delete;

  /** `job` must not throw. */
  void post(std::function<void()> job) {
    {
      const std::lock_guard<std::mutex> guard(mMutex);
      mJobs.push_back(std::move(job));
    }
    mChanged.notify_one();
  }

 private:
  void work() {
    std::unique_lock<std::mutex> lock(mMutex);
    for (;;) {
      mChanged.wait(lock, [this] { return mIsEnding || !mJobs.empty(); });
      if (mJobs.empty())
        return;
      std::function<void()> job = std::move(mJobs.front());
      mJobs.pop_front();
      lock.unlock();
      job();
      job = nullptr; // what it holds is freed here, not under the lock
      lock.lock();
    }
  }

  std::mutex mMutex;
  std::condition_variable mChanged;
  std::deque<std::function<void()>> mJobs;
  bool mIsEnding = false;
  std::thread mThread; // last: it uses the others
};

} // namespace scenebus::tensorrt
