#pragma once
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

/** A few lines of test harness: a test registers itself, `CHECK` counts and prints what failed. */
namespace scenebus::test {

struct Case {
  std::string name;
  std::function<void()> run;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(std::string name, std::function<void()> run) { cases().push_back({std::move(name), std::move(run)}); }
};

} // namespace scenebus::test

#define SCENEBUS_JOIN_INNER(a, b) a##b
#define SCENEBUS_JOIN(a, b) SCENEBUS_JOIN_INNER(a, b)
#define TEST_CASE(name)                                                                                                \
  static void SCENEBUS_JOIN(testCase, __LINE__)();                                                                     \
  static const scenebus::test::Register SCENEBUS_JOIN(testRegister, __LINE__)(name, SCENEBUS_JOIN(testCase, __LINE__)); \
  static void SCENEBUS_JOIN(testCase, __LINE__)()
#define CHECK(condition)                                                                   \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      ++scenebus::test::failures();                                                        \
      std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);        \
    }                                                                                      \
  } while (false)
#define CHECK_MESSAGE(condition, ...)                                          \
  do {                                                                         \
    if (!(condition)) {                                                        \
      ++scenebus::test::failures();                                            \
      std::fprintf(stderr, "%s:%d: expected %s: ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                       \
      std::fputc('\n', stderr);                                                \
    }                                                                          \
  } while (false)
