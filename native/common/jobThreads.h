#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace scenebus {

/**
 * Threads that run jobs in the order in which they were posted: with one thread, one after the other. A thread is
 * started when a job finds none idle, until there are as many as allowed.
 */
class JobThreads {
 public:
  /** @param name as the system shows it; at most 15 characters, and not copied */
  explicit JobThreads(const char* name, int mostThreads = 1) : mName(name), mMostThreads(mostThreads) {}
  /** Runs what was posted before, then ends. Not from one of the threads themselves. */
  ~JobThreads();
  JobThreads(const JobThreads&) = delete;
  JobThreads& operator=(const JobThreads&) = delete;

  /**
   * @param job must not throw
   * @throws std::system_error when not one thread can be started, std::bad_alloc; the job is then not run
   */
  void post(std::function<void()> job);

 private:
  void work();

  const char* mName;
  const std::size_t mMostThreads;
  std::mutex mMutex;
  std::condition_variable mWake;
  std::deque<std::function<void()>> mJobs;
  std::size_t mIdle = 0;
  bool mIsEnding = false;
  std::vector<std::thread> mThreads;
};

} // namespace scenebus
