#include "cpuTest.h"

/** Runs all cases. Exit status 1 when a check failed. */
int main() {
  for (const auto& testCase : scenebus::test::cases()) {
    const int before = scenebus::test::failures();
    testCase.run();
    std::printf("%s %s\n", scenebus::test::failures() == before ? "ok    " : "FAILED", testCase.name.c_str());
  }
  std::printf("%zu cases, %d failed checks\n", scenebus::test::cases().size(), scenebus::test::failures());
  return !scenebus::test::cases().empty() && scenebus::test::failures() == 0 ? 0 : 1;
}
