#include "tests/gpu/emulation/blockRunner.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace scenebus::emulation {
namespace {

constexpr std::size_t kGuardBytes = 256;
constexpr unsigned char kGuardByte = 0xa5;
/** NaN as float and as half: memory that nobody wrote shows. */
constexpr unsigned char kUnwritten = 0xff;

thread_local GpuThread* running = nullptr;

} // namespace

GpuThread& currentThread() {
  if (running == nullptr)
    throw std::logic_error("device code runs outside a kernel");
  return *running;
}

void GpuThread::warpOperation(WarpOperation operation, void* value) {
  mOperation = operation;
  mValue = value;
  mState = State::kAtWarpOperation;
  mFiber.yield();
}

void GpuThread::blockBarrier() {
  mState = State::kAtBarrier;
  mFiber.yield();
}

void GpuThread::arrive(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.to, copy.from, 16);
  else
    std::memset(copy.to, 0, 16);
}

void GpuThread::copyAsync(void* to, const void* from, bool valid) {
  if (mCopiesAtOnce)
    arrive({to, from, valid});
  mOpen.push_back({to, from, valid});
}

void GpuThread::commitCopies() { mCommitted.push_back(std::exchange(mOpen, {})); }

void GpuThread::waitForCopies(std::size_t groupsLeft) {
  while (mCommitted.size() > groupsLeft) {
    if (!mCopiesAtOnce)
      for (const auto& copy : mCommitted.front())
        arrive(copy);
    mCommitted.erase(mCommitted.begin());
  }
}

void BlockRunner::run(const cuda::KernelCall& call, unsigned maxThreads, unsigned maxSharedBytes,
                      const BoundKernel& kernel, Order order) {
  const unsigned threads = call.block.x * call.block.y * call.block.z;
  const std::string name = call.name;
  if (threads == 0 || threads > maxThreads || threads % kWarpLanes != 0)
    throw std::logic_error(name + ": " + std::to_string(threads) + " threads in a block; at most " +
                           std::to_string(maxThreads) + " and whole warps are expected");
  if (call.sharedBytes > maxSharedBytes)
    throw std::logic_error(name + ": asks for " + std::to_string(call.sharedBytes) + " bytes of shared memory");
  if (call.grid.x == 0 || call.grid.y == 0 || call.grid.z == 0 || call.grid.y > 65535 || call.grid.z > 65535)
    throw std::logic_error(name + ": a grid of " + std::to_string(call.grid.x) + " × " + std::to_string(call.grid.y) +
                           " × " + std::to_string(call.grid.z) + " blocks cannot be launched");
  while (mThreads.size() < threads)
    mThreads.push_back(std::make_unique<GpuThread>());

  const std::size_t sharedBytes = (call.sharedBytes + 15u) / 16 * 16;
  const std::unique_ptr<unsigned char, decltype(&std::free)> shared(
      static_cast<unsigned char*>(std::aligned_alloc(256, (sharedBytes + kGuardBytes + 255) / 256 * 256)), &std::free);
  for (unsigned z = 0; z < call.grid.z; ++z)
    for (unsigned y = 0; y < call.grid.y; ++y)
      for (unsigned x = 0; x < call.grid.x; ++x) {
        std::memset(shared.get(), kUnwritten, sharedBytes);
        std::memset(shared.get() + call.sharedBytes, kGuardByte, sharedBytes + kGuardBytes - call.sharedBytes);
        for (unsigned i = 0; i < threads; ++i) {
          GpuThread& thread = *mThreads[i];
          thread.blockIdx = {x, y, z};
          thread.blockDim = call.block;
          thread.gridDim = call.grid;
          thread.threadIdx = {i % call.block.x, i / call.block.x % call.block.y, i / (call.block.x * call.block.y)};
          thread.shared = shared.get();
        }
        try {
          runBlock(threads, kernel, order);
        } catch (const std::logic_error& error) {
          throw std::logic_error(name + ", block (" + std::to_string(x) + ", " + std::to_string(y) + ", " +
                                 std::to_string(z) + "): " + error.what());
        }
        for (std::size_t i = call.sharedBytes; i < sharedBytes + kGuardBytes; ++i)
          if (shared.get()[i] != kGuardByte)
            throw std::logic_error(name + ": wrote beyond its " + std::to_string(call.sharedBytes) +
                                   " bytes of shared memory");
      }
}

void BlockRunner::runBlock(unsigned threads, const BoundKernel& kernel, Order order) {
  for (unsigned i = 0; i < threads; ++i) {
    GpuThread& thread = *mThreads[i];
    thread.mState = GpuThread::State::kReady;
    thread.mError = nullptr;
    thread.mCommitted.clear();
    thread.mOpen.clear();
    thread.mCopiesAtOnce = order == Order::kBackward;
    thread.mFiber.start([&thread, &kernel] {
      try {
        kernel();
        if (!thread.mCommitted.empty() || !thread.mOpen.empty())
          throw std::logic_error("a thread ended with asynchronous copies that it did not wait for");
      } catch (...) {
        thread.mError = std::current_exception();
      }
      thread.mState = GpuThread::State::kFinished;
    });
  }
  const unsigned warps = threads / kWarpLanes;
  std::vector<GpuThread*> lanes(threads);
  for (unsigned i = 0; i < threads; ++i)
    lanes[i] = mThreads[i].get();
  for (;;) {
    unsigned ended = 0;
    for (unsigned turn = 0; turn < warps; ++turn) {
      const unsigned warp = order == Order::kForward ? turn : warps - 1 - turn;
      ended += runWarp(lanes.data() + warp * kWarpLanes, order) ? 1 : 0;
    }
    if (ended == warps)
      return;
    if (ended != 0)
      throw std::logic_error("some warps ended while others wait at a barrier");
    for (auto* lane : lanes)
      lane->mState = GpuThread::State::kReady;
  }
}

bool BlockRunner::runWarp(GpuThread* const* lanes, Order order) {
  for (;;) {
    for (int turn = 0; turn < kWarpLanes; ++turn) {
      GpuThread& lane = *lanes[order == Order::kForward ? turn : kWarpLanes - 1 - turn];
      if (lane.mState != GpuThread::State::kReady)
        continue;
      running = &lane;
      lane.mFiber.resume();
      running = nullptr;
      if (lane.mError)
        std::rethrow_exception(lane.mError);
    }
    const auto state = lanes[0]->mState;
    const auto operation = lanes[0]->mOperation;
    for (int i = 1; i < kWarpLanes; ++i)
      if (lanes[i]->mState != state ||
          (state == GpuThread::State::kAtWarpOperation && lanes[i]->mOperation != operation))
        throw std::logic_error("the lanes of a warp diverge at a barrier or a warp-wide operation");
    if (state == GpuThread::State::kFinished)
      return true;
    if (state == GpuThread::State::kAtBarrier)
      return false;
    void* values[kWarpLanes];
    for (int i = 0; i < kWarpLanes; ++i)
      values[i] = lanes[i]->mValue;
    operation(values);
    for (int i = 0; i < kWarpLanes; ++i)
      lanes[i]->mState = GpuThread::State::kReady;
  }
}

} // namespace scenebus::emulation
