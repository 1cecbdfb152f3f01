#pragma once
#include "gpu/driver/device.h"
#include "tests/gpu/emulation/fiber.h"
#include "tests/gpu/emulation/kernelRegistry.h"

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

/**
 * Runs the threads of a grid, block after block. Stricter than a device: all 32 lanes of a warp must arrive at the same
 * shuffle, and all threads of a block at the same barrier; anything else throws std::logic_error. Shared memory starts
 * as NaN and has a guarded end; asynchronous copies arrive as late as they may (when they are waited for) or, in backward
 * order, as early.
 */
namespace scenebus::emulation {

constexpr int kWarpLanes = 32;

/** In which order warps and lanes take their turns: a result that depends on it lacks a barrier. */
enum class Order { kForward, kBackward };

/** Computes what a warp-wide operation gives to each lane; `lanes[i]` is what lane i brought. */
using WarpOperation = void (*)(void* const* lanes);

class GpuThread {
 public:
  cuda::Dim3 threadIdx, blockIdx, blockDim, gridDim;
  unsigned char* shared = nullptr;

  void warpOperation(WarpOperation operation, void* value);
  void blockBarrier();
  void copyAsync(void* to, const void* from, bool valid);
  void commitCopies();
  void waitForCopies(std::size_t groupsLeft);

 private:
  friend class BlockRunner;
  enum class State { kReady, kAtWarpOperation, kAtBarrier, kFinished };
  struct Copy {
    void* to;
    const void* from;
    bool valid;
  };

  static void arrive(const Copy& copy);

  Fiber mFiber;
  State mState = State::kReady;
  WarpOperation mOperation = nullptr;
  void* mValue = nullptr;
  std::vector<std::vector<Copy>> mCommitted;
  std::vector<Copy> mOpen;
  bool mCopiesAtOnce = false;
  std::exception_ptr mError;
};

/** Who runs now. */
GpuThread& currentThread();

class BlockRunner {
 public:
  void run(const cuda::KernelCall& call, unsigned maxThreads, unsigned maxSharedBytes, const BoundKernel& kernel,
           Order order);

 private:
  void runBlock(unsigned threads, const BoundKernel& kernel, Order order);
  /** True when the warp has ended; false when it waits at the block's barrier. */
  bool runWarp(GpuThread* const* lanes, Order order);

  std::vector<std::unique_ptr<GpuThread>> mThreads;
};

} // namespace scenebus::emulation
