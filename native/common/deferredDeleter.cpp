#include "common/deferredDeleter.h"

#include <exception>
#include <utility>

namespace scenebus {

DeferredDeleter::DeferredDeleter() = default;
DeferredDeleter::~DeferredDeleter() = default;

void DeferredDeleter::enter() {
  const std::lock_guard<std::mutex> lock(mMutex);
  ++mUsers;
}

void DeferredDeleter::leave() {
  std::unique_ptr<JobThreads> ended; // joined outside of the lock: who enters meanwhile gets a new one
  const std::lock_guard<std::mutex> lock(mMutex);
  if (--mUsers == 0)
    ended = std::move(mThread);
}

void DeferredDeleter::release(std::shared_ptr<const void> share) noexcept {
  try {
    // Emptied by the job itself: a copy here must not turn out to be the last. Outlives the lock where nothing is posted.
    const auto held = std::make_shared<std::shared_ptr<const void>>(share);
    const std::lock_guard<std::mutex> lock(mMutex);
    if (mUsers == 0)
      return;
    if (!mThread)
      mThread = std::make_unique<JobThreads>("scenebus.free");
    share.reset();
    mThread->post([held] { held->reset(); });
  } catch (const std::exception&) {
    // No thread or no memory: it ends with this call.
  }
}

} // namespace scenebus
