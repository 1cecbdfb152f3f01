#include "cpu/kernels/threadPool.h"

#include "common/codedError.h"

#include <exception>
#include <string>
#include <utility>

namespace scenebus::cpu {
namespace {

/** About 50 to 100 µs of watching before a worker sleeps: longer than the serial parts between two loops. */
constexpr int kWatchRounds = 2000;
/** Rounds after which a caller that waits for the last task gives its core away now and then. */
constexpr int kYieldRounds = 4000;

inline void pauseCore() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

std::thread ThreadPool::startThread(std::function<void()> work) {
  return std::thread(std::move(work));
}

ThreadPool::ThreadPool(int threads, StartThread start) {
  try {
    mThreads.reserve(static_cast<std::size_t>(threads - 1)); // a thread that finds no place would end the process
    for (int worker = 1; worker < threads; ++worker)
      mThreads.push_back(start([this, worker] { work(worker); }));
  } catch (const std::exception& error) {
    // No destructor runs for an object that was not made, and those started would wait for ever.
    const std::size_t started = mThreads.size();
    stop();
    throw CodedError("ERR_ENGINE_OUT_OF_MEMORY", "could start " + std::to_string(started) + " of " +
                                                     std::to_string(threads - 1) + " threads (" + error.what() +
                                                     "); lower `threads`, or raise the limits of processes and memory");
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mMutex);
    mStopped = true;
    ++mEpoch;
  }
  mWake.notify_all();
  for (auto& thread : mThreads)
    thread.join();
}

void ThreadPool::run(int count, Call call, const void* context) {
  if (mThreads.empty() || count <= 1) {
    for (int index = 0; index < count; ++index)
      call(context, index, 0);
    return;
  }
  mCall = call;
  mContext = context;
  mCount = count;
  mNext.store(0);
  mOpen.store(true);
  ++mEpoch;
  if (mSleeping.load() > 0) {
    // Taken so that a worker between its last look and its sleep is not missed.
    { const std::lock_guard<std::mutex> lock(mMutex); }
    mWake.notify_all();
  }
  takeTasks(0);
  // From here on nobody enters; those inside still run their last task. Sequential consistency of the two counters
  // makes sure that a worker either is seen here or sees that the loop is closed.
  mOpen.store(false);
  for (int round = 0; mInside.load() != 0; ++round) {
    pauseCore();
    if (round > kYieldRounds)
      std::this_thread::yield();
  }
}

void ThreadPool::takeTasks(int worker) {
  const int count = mCount;
  for (int index = mNext.fetch_add(1); index < count; index = mNext.fetch_add(1))
    mCall(mContext, index, worker);
}

bool ThreadPool::awaitLoop(std::uint32_t& seen) {
  for (int round = 0; round < kWatchRounds; ++round) {
    if (mEpoch.load() != seen)
      break;
    pauseCore();
  }
  if (mEpoch.load() == seen) {
    std::unique_lock<std::mutex> lock(mMutex);
    ++mSleeping;
    mWake.wait(lock, [&] { return mEpoch.load() != seen; });
    --mSleeping;
  }
  seen = mEpoch.load();
  return !mStopped.load();
}

void ThreadPool::work(int worker) {
  std::uint32_t seen = 0;
  while (awaitLoop(seen)) {
    ++mInside;
    if (mOpen.load())
      takeTasks(worker);
    --mInside;
  }
}

} // namespace scenebus::cpu
