#include "cpu/kernels/cpuFeatures.h"

#include <sched.h>

#include <array>
#include <fstream>
#include <set>
#include <utility>

#if defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

namespace scenebus::cpu {
namespace {

constexpr std::array<std::pair<InstructionSet, std::string_view>, 4> kNames{{
    {InstructionSet::kScalar, "scalar"},
    {InstructionSet::kAvx2, "avx2"},
    {InstructionSet::kAvx512Vnni, "avx512-vnni"},
    {InstructionSet::kNeonDotprod, "neon-dotprod"},
}};

std::string readFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

} // namespace

std::string_view instructionSetName(InstructionSet set) {
  for (const auto& [value, name] : kNames)
    if (value == set)
      return name;
  return "unknown";
}

std::optional<InstructionSet> parseInstructionSet(std::string_view name) {
  for (const auto& [value, valueName] : kNames)
    if (valueName == name)
      return value;
  return std::nullopt;
}

std::vector<InstructionSet> availableInstructionSets() {
  std::vector<InstructionSet> sets{InstructionSet::kScalar};
#if defined(__x86_64__)
  // The builtin also asks whether the system saves the wide registers.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2)
    sets.push_back(InstructionSet::kAvx2);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
    sets.push_back(InstructionSet::kAvx512Vnni);
#elif defined(__aarch64__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0)
    sets.push_back(InstructionSet::kNeonDotprod);
#endif
  return sets;
}

InstructionSet bestInstructionSet() {
  return availableInstructionSets().back();
}

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0 && line.rfind("Model", 0) != 0)
      continue;
    const auto colon = line.find(':');
    if (colon != std::string::npos && colon + 2 < line.size())
      return line.substr(colon + 2);
  }
  // Device trees (Jetson) name the board, with a terminating zero byte.
  std::string board = readFirstLine("/proc/device-tree/model");
  while (!board.empty() && board.back() == '\0')
    board.pop_back();
  return board;
}

int physicalCoreCount() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
    return 1;
  // Cores that share execution units report the same siblings list.
  std::set<std::string> cores;
  int unknown = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed))
      continue;
    std::string siblings =
        readFirstLine("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    if (siblings.empty())
      ++unknown;
    else
      cores.insert(std::move(siblings));
  }
  const int count = static_cast<int>(cores.size()) + unknown;
  return count > 0 ? count : 1;
}

} // namespace scenebus::cpu
