#pragma once
#include <cstdint>
#include <exception>

namespace scenebus {

/** Thrown when the caller's abort flag was seen. */
class Aborted : public std::exception {
 public:
  const char* what() const noexcept override { return "aborted"; }
};

/** Set by the caller from another thread; polled. */
struct CancelFlag {
  const std::int32_t* value = nullptr;
  bool isSet() const { return value != nullptr && __atomic_load_n(value, __ATOMIC_RELAXED) != 0; }
  void check() const {
    if (isSet())
      throw Aborted();
  }
};

} // namespace scenebus
