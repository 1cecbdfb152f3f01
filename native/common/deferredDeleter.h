#pragma once
#include "common/jobThreads.h"

#include <memory>
#include <mutex>
#include <utility>

namespace scenebus {

/**
 * Lets go of objects on a thread of its own: giving gigabytes back to the system takes tens of milliseconds, too long
 * for a thread that answers events. The thread is started when it is first needed.
 *
 * The thread runs code of this library, which may be unloaded with the last environment that uses it. Environments
 * therefore enter and leave; the last one to leave waits for the thread. Outside of that objects end where they are
 * let go of.
 */
class DeferredDeleter {
 public:
  DeferredDeleter();
  ~DeferredDeleter();
  DeferredDeleter(const DeferredDeleter&) = delete;
  DeferredDeleter& operator=(const DeferredDeleter&) = delete;

  void enter();
  void leave();

  /** Gives up a share of an object. What it held ends here and now only without users, or where no thread starts. */
  void release(std::shared_ptr<const void> share) noexcept;

  /** A share of `object` like any other; when the last of them goes, this releases it. */
  template <typename T>
  std::shared_ptr<T> keep(std::shared_ptr<T> object) {
    T* address = object.get();
    return std::shared_ptr<T>(address, [this, held = std::move(object)](T*) mutable { release(std::move(held)); });
  }

 private:
  std::mutex mMutex;
  int mUsers = 0;
  std::unique_ptr<JobThreads> mThread;
};

} // namespace scenebus
