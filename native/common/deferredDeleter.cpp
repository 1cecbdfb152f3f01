#include "common/deferredDeleter.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <thread>
#include <utility>

namespace scenebus {

/** The thread and what waits for it. The destructor returns when all is released. */
class DeferredDeleter::Queue {
 public:
  Queue() : mThread([this] { work(); }) {}

  ~Queue() {
    {
      const std::lock_guard<std::mutex> lock(mMutex);
      mClosed = true;
    }
    mWake.notify_one();
    mThread.join();
  }

  /** Takes `share`, unless it throws. */
  void push(std::shared_ptr<const void>& share) {
    {
      const std::lock_guard<std::mutex> lock(mMutex);
      mWaiting.push_back(std::move(share));
    }
    mWake.notify_one();
  }

 private:
  void work() {
    pthread_setname_np(pthread_self(), "scenebus.free");
    std::unique_lock<std::mutex> lock(mMutex);
    for (;;) {
      mWake.wait(lock, [this] { return mClosed || !mWaiting.empty(); });
      if (mWaiting.empty())
        return;
      std::shared_ptr<const void> share = std::move(mWaiting.front());
      mWaiting.pop_front();
      lock.unlock();
      share.reset();
      lock.lock();
    }
  }

  std::mutex mMutex;
  std::condition_variable mWake;
  std::deque<std::shared_ptr<const void>> mWaiting;
  bool mClosed = false;
  std::thread mThread; // last: it uses the others
};

DeferredDeleter::DeferredDeleter() = default;
DeferredDeleter::~DeferredDeleter() = default;

void DeferredDeleter::enter() {
  const std::lock_guard<std::mutex> lock(mMutex);
  ++mUsers;
}

void DeferredDeleter::leave() {
  std::unique_ptr<Queue> ended; // goes outside of the lock: who enters meanwhile gets a new one
  const std::lock_guard<std::mutex> lock(mMutex);
  if (--mUsers == 0)
    ended = std::move(mQueue);
}

void DeferredDeleter::release(std::shared_ptr<const void> share) noexcept {
  const std::lock_guard<std::mutex> lock(mMutex);
  if (mUsers == 0)
    return;
  try {
    if (!mQueue)
      mQueue = std::make_unique<Queue>();
    mQueue->push(share);
  } catch (const std::exception&) {
    // No thread or no memory: it ends with this call.
  }
}

} // namespace scenebus
