#pragma once
#include <cstdint>
#include <string>

/** What the board's own files say. All are empty or 0 on a machine that has no such file. */
namespace scenebus::tensorrt {

/** From /etc/nv_tegra_release: `R36.4.3`. */
std::string l4tRelease(const std::string& root = "");

/** nvpmodel's mode from /var/lib/nvpmodel/status: `0`. Clocks differ between modes, so the fastest kernels may too. */
std::string powerMode(const std::string& root = "");

/** MemAvailable of /proc/meminfo: on a Jetson the GPU can have what the system can free for it. */
std::uint64_t availableMemoryBytes(const std::string& root = "");

/** Room for this user on the file system of the folder of `path`. */
std::uint64_t freeDiskBytes(const std::string& path);

} // namespace scenebus::tensorrt
