#include "tensorrt/plan/systemFacts.h"

#include <sys/statvfs.h>

#include <cstdio>
#include <fstream>
#include <limits>

namespace scenebus::tensorrt {
namespace {

std::string firstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

} // namespace

std::string l4tRelease(const std::string& root) {
  // "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, …"
  int major = 0, minor = 0, patch = 0;
  const std::string line = firstLine(root + "/etc/nv_tegra_release");
  if (std::sscanf(line.c_str(), "# R%d (release), REVISION: %d.%d", &major, &minor, &patch) != 3)
    return "";
  return "R" + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

std::string powerMode(const std::string& root) {
  // "pmode:0000", or "pmode:0000 fmode:fanNull" on some boards
  int mode = 0;
  const std::string line = firstLine(root + "/var/lib/nvpmodel/status");
  return std::sscanf(line.c_str(), "pmode:%d", &mode) == 1 ? std::to_string(mode) : "";
}

std::uint64_t availableMemoryBytes(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string name, unit;
  std::uint64_t kilobytes = 0;
  while (file >> name >> kilobytes) {
    std::getline(file, unit);
    if (name == "MemAvailable:")
      return kilobytes * 1024;
  }
  return 0;
}

std::uint64_t freeDiskBytes(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct statvfs facts {};
  // An unknown amount is no reason to refuse: writing says so if there is none.
  if (statvfs(folder.c_str(), &facts) != 0)
    return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(facts.f_bavail) * facts.f_frsize;
}

} // namespace scenebus::tensorrt
