#include "tests/support/checks.h"

#include <cstring>

/** Runs all cases, or those whose name contains the argument. Exit status 1 when a check failed. */
int main(int argc, char** argv) {
  int ran = 0;
  for (const auto& testCase : scenebus::test::cases()) {
    if (argc > 1 && std::strstr(testCase.name.c_str(), argv[1]) == nullptr)
      continue;
    const int before = scenebus::test::failures();
    testCase.run();
    std::printf("%s %s\n", scenebus::test::failures() == before ? "ok    " : "FAILED", testCase.name.c_str());
    ++ran;
  }
  std::printf("%d cases, %d failed checks\n", ran, scenebus::test::failures());
  return ran > 0 && scenebus::test::failures() == 0 ? 0 : 1;
}
