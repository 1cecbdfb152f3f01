#include "tests/gpu/emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace scenebus::emulation {
namespace {

constexpr std::size_t kStackBytes = 256 * 1024;

/** Whom `enter` starts: set just before the first switch to it. */
thread_local Fiber* starting = nullptr;

} // namespace

#if defined(__x86_64__)
// ucontext saves the signal mask by a system call at every switch; the registers that a function must preserve are all
// that we need.
extern "C" void scenebusSwitchStack(void** saved, void* next);
__asm__(R"(
.text
.globl scenebusSwitchStack
.hidden scenebusSwitchStack
.type scenebusSwitchStack, @function
scenebusSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size scenebusSwitchStack, .-scenebusSwitchStack
)");
#endif

struct Fiber::Switch {
  void* stack = nullptr;
#if defined(__x86_64__)
  void* own = nullptr;
  void* caller = nullptr;
#else
  ucontext_t own{};
  ucontext_t caller{};
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fakeOwn = nullptr;
  void* fakeCaller = nullptr;
  const void* callerStack = nullptr;
  std::size_t callerBytes = 0;
#endif
};

Fiber::Fiber() : mSwitch(std::make_unique<Switch>()) {
  // Pages come when they are touched.
  mSwitch->stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mSwitch->stack == MAP_FAILED)
    throw std::bad_alloc();
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  // The sanitizer's marks would outlive the mapping.
  __asan_unpoison_memory_region(mSwitch->stack, kStackBytes);
#endif
  munmap(mSwitch->stack, kStackBytes);
}

void Fiber::enter() {
  Fiber* self = starting;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self->mSwitch->callerStack, &self->mSwitch->callerBytes);
#endif
  self->mBody();
  self->mFinished = true;
  self->yield();
  __builtin_unreachable();
}

void Fiber::start(std::function<void()> body) {
  mBody = std::move(body);
  mFinished = false;
#if defined(__SANITIZE_ADDRESS__)
  // What was on the stack of an earlier body is gone.
  __asan_unpoison_memory_region(mSwitch->stack, kStackBytes);
  mSwitch->fakeOwn = nullptr;
#endif
#if defined(__x86_64__)
  auto* top = reinterpret_cast<std::uintptr_t*>(static_cast<char*>(mSwitch->stack) + kStackBytes);
  *--top = 0; // keeps the stack aligned as after a call
  *--top = reinterpret_cast<std::uintptr_t>(&Fiber::enter);
  for (int i = 0; i < 6; ++i)
    *--top = 0;
  mSwitch->own = top;
#else
  getcontext(&mSwitch->own);
  mSwitch->own.uc_stack.ss_sp = mSwitch->stack;
  mSwitch->own.uc_stack.ss_size = kStackBytes;
  mSwitch->own.uc_link = nullptr;
  makecontext(&mSwitch->own, &Fiber::enter, 0);
#endif
}

void Fiber::resume() {
  starting = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&mSwitch->fakeCaller, mSwitch->stack, kStackBytes);
#endif
#if defined(__x86_64__)
  scenebusSwitchStack(&mSwitch->caller, mSwitch->own);
#else
  swapcontext(&mSwitch->caller, &mSwitch->own);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(mSwitch->fakeCaller, nullptr, nullptr);
#endif
}

void Fiber::yield() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(mFinished ? nullptr : &mSwitch->fakeOwn, mSwitch->callerStack, mSwitch->callerBytes);
#endif
#if defined(__x86_64__)
  scenebusSwitchStack(&mSwitch->own, mSwitch->caller);
#else
  swapcontext(&mSwitch->own, &mSwitch->caller);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(mSwitch->fakeOwn, &mSwitch->callerStack, &mSwitch->callerBytes);
#endif
}

} // namespace scenebus::emulation
