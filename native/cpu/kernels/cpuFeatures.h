#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace scenebus::cpu {

/** Instruction sets that the kernels are written for, from the most general to the fastest. */
enum class InstructionSet { kScalar, kAvx2, kAvx512Vnni, kNeonDotprod };

/** The name used in options, the environment and reports: `scalar`, `avx2`, `avx512-vnni`, `neon-dotprod`. */
std::string_view instructionSetName(InstructionSet set);

/** The set with this name, whether or not this machine has it. */
std::optional<InstructionSet> parseInstructionSet(std::string_view name);

/** Sets that this build contains and this machine runs, slowest first; `kScalar` is always there. */
std::vector<InstructionSet> availableInstructionSets();

/** The fastest available set. */
InstructionSet bestInstructionSet();

/** Processor name as the system gives it, for reports: `AMD EPYC`; empty when it gives none. */
std::string processorName();

/** Cores that do not share their execution units with another one in this process's affinity mask; at least 1. */
int physicalCoreCount();

} // namespace scenebus::cpu
