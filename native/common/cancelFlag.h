#pragma once
#include <cstdint>
#include <exception>

namespace scenebus {

/** Thrown when a set flag was seen. */
class Aborted : public std::exception {
 public:
  const char* what() const noexcept override { return "aborted"; }
};

/** Words that another thread sets to stop a call, which polls them. */
struct CancelFlag {
  /** The caller's. */
  const std::int32_t* value = nullptr;
  /** Set when everything of an owner ends. */
  const std::int32_t* ending = nullptr;

  bool isSet() const { return isSet(value) || isSet(ending); }
  void check() const {
    if (isSet())
      throw Aborted();
  }

 private:
  static bool isSet(const std::int32_t* word) { return word != nullptr && __atomic_load_n(word, __ATOMIC_RELAXED) != 0; }
};

} // namespace scenebus
