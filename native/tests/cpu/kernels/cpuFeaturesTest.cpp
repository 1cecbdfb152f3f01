#include "cpu/kernels/cpuFeatures.h"
#include "tests/support/checks.h"

using namespace scenebus::cpu;

TEST_CASE("features: the scalar set is always available and the best set is an available one") {
  const auto sets = availableInstructionSets();
  // A log should tell what the kernels were tested with.
  std::printf("instruction sets:");
  for (const auto set : sets)
    std::printf(" %s", instructionSetName(set).data());
  std::printf("\n");
  CHECK(!sets.empty() && sets.front() == InstructionSet::kScalar);
  CHECK(sets.back() == bestInstructionSet());
}

TEST_CASE("features: every available set is found by its name, an unknown name is not") {
  for (const auto set : availableInstructionSets())
    CHECK(parseInstructionSet(instructionSetName(set)) == set);
  CHECK(!parseInstructionSet("avx1024").has_value());
}

TEST_CASE("features: at least one core") {
  CHECK(physicalCoreCount() >= 1);
}
