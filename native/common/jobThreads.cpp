#include "common/jobThreads.h"

#include <pthread.h>

#include <system_error>
#include <utility>

namespace scenebus {

JobThreads::~JobThreads() {
  {
    const std::lock_guard<std::mutex> lock(mMutex);
    mIsEnding = true;
  }
  mWake.notify_all();
  for (auto& thread : mThreads)
    thread.join();
}

void JobThreads::post(std::function<void()> job) {
  {
    const std::lock_guard<std::mutex> lock(mMutex);
    mJobs.push_back(std::move(job));
    // Those that were woken and have not yet looked still count as idle.
    if (mIdle < mJobs.size() && mThreads.size() < mMostThreads) {
      try {
        mThreads.reserve(mThreads.size() + 1);
        mThreads.emplace_back([this] { work(); });
      } catch (const std::exception&) {
        if (mThreads.empty()) {
          mJobs.pop_back();
          throw;
        }
      }
    }
  }
  mWake.notify_one();
}

void JobThreads::work() {
  pthread_setname_np(pthread_self(), mName);
  std::unique_lock<std::mutex> lock(mMutex);
  for (;;) {
    ++mIdle;
    mWake.wait(lock, [this] { return mIsEnding || !mJobs.empty(); });
    --mIdle;
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

} // namespace scenebus
