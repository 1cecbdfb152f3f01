#include "common/deferredDeleter.h"
#include "common/mappedMemory.h"
#include "tests/support/checks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using scenebus::DeferredDeleter;

namespace {

/** Tells on which thread it ended; waits for `mayEnd` first, as unmapping waits for the system. */
struct Ending {
  std::promise<std::thread::id> ended;
  std::shared_future<void> mayEnd;

  Ending() = default;
  explicit Ending(std::shared_future<void> wait) : mayEnd(std::move(wait)) {}
  ~Ending() {
    if (mayEnd.valid())
      mayEnd.wait();
    ended.set_value(std::this_thread::get_id());
  }
};

} // namespace

TEST_CASE("deferred deleter: what is let go of ends on another thread, and nobody waits for it") {
  DeferredDeleter deleter;
  deleter.enter();
  std::promise<void> gate;
  auto object = std::make_shared<Ending>(gate.get_future().share());
  auto ended = object->ended.get_future();
  auto share = deleter.keep(std::move(object));
  auto other = share;
  share.reset();
  CHECK(other.use_count() == 1);
  other.reset(); // would never return if the object ended here
  gate.set_value();
  CHECK(ended.get() != std::this_thread::get_id());

  // The thread serves what comes later.
  auto next = std::make_shared<const Ending>();
  auto nextEnded = const_cast<Ending&>(*next).ended.get_future();
  deleter.keep(std::move(next)).reset();
  CHECK(nextEnded.get() != std::this_thread::get_id());
  deleter.leave();
}

TEST_CASE("deferred deleter: the last user to leave waits for all that was let go of") {
  DeferredDeleter deleter;
  deleter.enter();
  deleter.enter();
  std::atomic<int> ended{0};
  const int count = 1000;
  for (int i = 0; i < count; ++i)
    deleter.release(std::shared_ptr<const void>(&ended, [&](const void*) { ++ended; }));
  deleter.leave();
  deleter.leave();
  CHECK_MESSAGE(ended == count, "%d", ended.load());
}

TEST_CASE("deferred deleter: without users an object ends where it is let go of; a new user has a thread again") {
  DeferredDeleter deleter;
  for (int round = 0; round < 3; ++round) {
    auto object = std::make_shared<Ending>();
    auto ended = object->ended.get_future();
    deleter.keep(std::move(object)).reset();
    CHECK(ended.get() == std::this_thread::get_id());

    deleter.enter();
    auto later = std::make_shared<Ending>();
    auto laterEnded = later->ended.get_future();
    deleter.keep(std::move(later)).reset();
    deleter.leave();
    CHECK(laterEnded.get() != std::this_thread::get_id());
  }
}

TEST_CASE("deferred deleter: users that come, release and leave on many threads") {
  DeferredDeleter deleter;
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        deleter.enter();
        for (int n = 0; n < 3; ++n)
          deleter.keep(std::shared_ptr<int>(new int(n), [&](const int* value) {
            delete value;
            ++ended;
          }));
        deleter.leave();
      }
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(ended == 4 * 200 * 3);
}

TEST_CASE("unmap: every piece goes, and nothing behind the end") {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (const std::size_t size : {page, scenebus::kUnmappedBytes, scenebus::kUnmappedBytes + page, 3 * scenebus::kUnmappedBytes - page}) {
    void* memory = mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    auto* const bytes = static_cast<unsigned char*>(memory);
    scenebus::unmapInPieces(bytes, size);
    // msync knows which pages are mapped.
    for (std::size_t at = 0; at < size; at += page)
      CHECK(msync(bytes + at, page, MS_ASYNC) != 0);
    CHECK(msync(bytes + size, page, MS_ASYNC) == 0);
    munmap(bytes + size, page);
  }
}
