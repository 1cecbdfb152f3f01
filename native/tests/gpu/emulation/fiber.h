#pragma once
#include <cstddef>
#include <functional>
#include <memory>

/** One GPU thread: a stack of its own, switched by hand, so that a block of threads runs on one processor thread. */
namespace scenebus::emulation {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /** The next `resume` starts `body` from its beginning; `body` must not throw. */
  void start(std::function<void()> body);
  /** Runs until the fiber yields or its body ends. */
  void resume();
  /** Called by the fiber: back to whoever resumed it. */
  void yield();
  bool finished() const { return mFinished; }

 private:
  struct Switch;
  static void enter();

  std::unique_ptr<Switch> mSwitch;
  std::function<void()> mBody;
  bool mFinished = true;
};

} // namespace scenebus::emulation
