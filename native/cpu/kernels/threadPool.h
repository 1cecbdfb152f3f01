#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace scenebus::cpu {

/**
 * Threads that share the tasks of one loop at a time. The caller is worker 0, so `ThreadPool(1)` starts no thread.
 *
 * A forward pass is hundreds of loops of some ten microseconds each; waking a thread costs as much. Workers therefore
 * watch for the next loop for a short while after one ends, and sleep when none comes: an idle pool uses no time.
 * A worker that the system does not schedule in time is not waited for; the others do its tasks.
 *
 * One caller at a time. Tasks must not throw.
 */
class ThreadPool {
public:
  /** Starts a thread that runs `work`. */
  using StartThread = std::thread (*)(std::function<void()> work);

  /**
   * @param threads workers in all, the caller included; at least 1
   * @param start for tests: another way to start a thread
   * @throws CodedError ERR_ENGINE_OUT_OF_MEMORY when the system gives fewer threads; none of them runs on
   */
  explicit ThreadPool(int threads, StartThread start = startThread);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threadCount() const { return static_cast<int>(mThreads.size()) + 1; }

  /** Calls `task(index, worker)` once for each index of `[0, count)`; returns when all have ended. */
  template <typename Task> void forEach(int count, const Task& task) {
    run(
        count, [](const void* context, int index, int worker) { (*static_cast<const Task*>(context))(index, worker); },
        &task);
  }

private:
  using Call = void (*)(const void* context, int index, int worker);

  static std::thread startThread(std::function<void()> work);
  void stop();
  void run(int count, Call call, const void* context);
  void work(int worker);
  void takeTasks(int worker);
  bool awaitLoop(std::uint32_t& seen);

  std::vector<std::thread> mThreads;

  // The loop at hand. Written only while no worker is inside.
  Call mCall = nullptr;
  const void* mContext = nullptr;
  int mCount = 0;

  alignas(64) std::atomic<int> mNext{0};
  alignas(64) std::atomic<std::uint32_t> mEpoch{0};
  alignas(64) std::atomic<bool> mOpen{false};
  alignas(64) std::atomic<int> mInside{0};
  std::atomic<int> mSleeping{0};
  std::atomic<bool> mStopped{false};
  std::mutex mMutex;
  std::condition_variable mWake;
};

} // namespace scenebus::cpu
