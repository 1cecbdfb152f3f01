#include "cpu/kernels/threadPool.h"
#include "common/codedError.h"
#include "tests/support/checks.h"

#include <time.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <system_error>
#include <utility>

using scenebus::CodedError;
using scenebus::cpu::ThreadPool;

namespace {

/** Threads of this process that the kernel reports as sleeping (state S in /proc). */
int sleepingThreads() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(entry.path() / "stat");
    std::string line;
    std::getline(file, line);
    const auto close = line.rfind(')');
    if (close != std::string::npos && close + 2 < line.size() && line[close + 2] == 'S')
      ++count;
  }
  return count;
}

} // namespace

TEST_CASE("pool: every index runs exactly once, whatever the number of threads and tasks") {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    CHECK(pool.threadCount() == threads);
    for (int count = 0; count < 200; ++count) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
      pool.forEach(count, [&](int index, int worker) {
        CHECK(worker >= 0 && worker < threads);
        ++hits[static_cast<std::size_t>(index)];
      });
      for (const auto& hit : hits)
        CHECK(hit == 1);
    }
  }
}

TEST_CASE("pool: a loop has ended when forEach returns") {
  ThreadPool pool(4);
  for (int round = 0; round < 5000; ++round) {
    // A worker that still ran would write into the next round's array and be seen there.
    std::vector<int> values(8, 0);
    pool.forEach(8, [&](int index, int) { values[static_cast<std::size_t>(index)] = round; });
    CHECK(std::accumulate(values.begin(), values.end(), 0) == 8 * round);
  }
}

TEST_CASE("pool: the workers of an idle pool sleep") {
  const int before = sleepingThreads();
  ThreadPool pool(3);
  pool.forEach(100, [](int, int) {});
  // A worker that watches for ever would stay in state R; the bound is only there to end a failing test.
  bool asleep = false;
  for (int round = 0; round < 1000 && !asleep; ++round) {
    asleep = sleepingThreads() == before + 2;
    const timespec pause{0, 5'000'000};
    nanosleep(&pause, nullptr);
  }
  CHECK(asleep);
}

TEST_CASE("pool: a sleeping pool wakes for the next loop") {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    const timespec pause{0, 1'000'000};
    nanosleep(&pause, nullptr);
    std::atomic<int> sum{0};
    pool.forEach(10, [&](int index, int) { sum += index; });
    CHECK(sum == 45);
  }
}

namespace {

/** What the system has left, and how many of the threads that it gave have ended. */
std::atomic<int> threadsLeft{0}, threadsEnded{0};

std::thread startWhileThreadsAreLeft(std::function<void()> work) {
  if (threadsLeft == 0)
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  --threadsLeft;
  return std::thread([work = std::move(work)] {
    work();
    ++threadsEnded;
  });
}

} // namespace

TEST_CASE("pool: threads that the system refuses are an error with a code, and those started end") {
  for (const int available : {0, 1, 3}) {
    threadsLeft = available;
    threadsEnded = 0;
    std::string code, message;
    try {
      const ThreadPool pool(6, startWhileThreadsAreLeft);
    } catch (const CodedError& error) {
      code = error.code();
      message = error.what();
    }
    CHECK(code == "ERR_ENGINE_OUT_OF_MEMORY");
    CHECK_MESSAGE(message.find("could start " + std::to_string(available) + " of 5 threads") != std::string::npos, "%s",
                  message.c_str());
    CHECK(threadsEnded == available);
  }
  threadsLeft = 5;
  ThreadPool pool(6, startWhileThreadsAreLeft);
  CHECK(pool.threadCount() == 6);
}
