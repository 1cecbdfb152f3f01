#include "cpu/threadPool.h"
#include "cpuTest.h"

#include <time.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

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
