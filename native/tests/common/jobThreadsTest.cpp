#include "common/jobThreads.h"

#include "tests/support/checks.h"

#include <pthread.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using scenebus::JobThreads;

TEST_CASE("job threads: one thread runs jobs in order, under its name, and its end waits for all of them") {
  std::vector<int> order; // of that thread until it is joined
  std::thread::id first, last;
  std::string name(16, '\0');
  {
    JobThreads threads("jobs.test");
    threads.post([&] {
      first = std::this_thread::get_id();
      pthread_getname_np(pthread_self(), name.data(), name.size());
    });
    for (int i = 0; i < 1000; ++i)
      threads.post([&order, i] { order.push_back(i); });
    threads.post([&] { last = std::this_thread::get_id(); });
  }
  CHECK(order.size() == 1000);
  for (int i = 0; i < static_cast<int>(order.size()); ++i)
    CHECK(order[static_cast<std::size_t>(i)] == i);
  CHECK(first == last && first != std::this_thread::get_id());
  CHECK(name.compare(0, 10, std::string("jobs.test\0", 10)) == 0);
}

TEST_CASE("job threads: as many at once as allowed, no more") {
  constexpr int kThreads = 3, kJobs = 12;
  std::atomic<int> inside{0}, most{0};
  std::promise<void> gate;
  const auto open = gate.get_future().share();
  std::promise<void> full;
  std::once_flag once;
  {
    JobThreads threads("jobs.test", kThreads);
    for (int i = 0; i < kJobs; ++i)
      threads.post([&] {
        const int now = ++inside;
        int seen = most.load();
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        if (now == kThreads)
          std::call_once(once, [&] { full.set_value(); });
        open.wait(); // nobody leaves before all threads are inside
        --inside;
      });
    full.get_future().wait();
    gate.set_value();
  }
  CHECK_MESSAGE(most == kThreads, "%d", most.load());
}

TEST_CASE("job threads: what a job holds is let go of before the next one runs") {
  JobThreads threads("jobs.test");
  auto held = std::make_shared<int>(1);
  std::promise<long> count;
  threads.post([held] {});
  threads.post([&, watched = std::weak_ptr<int>(held)] { count.set_value(watched.use_count()); });
  held.reset();
  CHECK(count.get_future().get() == 0);
}
