#include "gpu/driver/deviceAccess.h"

#include <glob.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

namespace scenebus::cuda {
namespace {

constexpr const char* kDevices[] = {"/dev/dri/renderD*", "/dev/nvmap", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/*"};

std::vector<std::string> filesLike(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found{};
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

std::string groupOf(const std::string& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0)
    return {};
  const group* entry = getgrgid(facts.st_gid);
  return entry == nullptr ? "" : entry->gr_name;
}

} // namespace

std::vector<ClosedDevice> closedDevices(const std::string& root,
                                        const std::function<bool(const std::string& path)>& canOpen) {
  std::vector<ClosedDevice> closed;
  for (const char* pattern : kDevices)
    for (const auto& path : filesLike(root + pattern)) {
      const bool opens = canOpen ? canOpen(path) : access(path.c_str(), R_OK | W_OK) == 0;
      if (!opens)
        closed.push_back({path, groupOf(path)});
    }
  return closed;
}

std::string describeRefusal(const std::vector<ClosedDevice>& closed) {
  if (closed.empty())
    return "on a Jetson the user must be in the groups video and render (sudo usermod -aG video,render USER; for a "
           "service: SupplementaryGroups=video render), and a container needs /dev/dri";
  std::set<std::string> groups;
  for (const auto& device : closed)
    groups.insert(device.group.empty() ? "that owns " + device.path : device.group);
  std::string names;
  for (const auto& name : groups)
    names += (names.empty() ? "" : ", ") + name;
  return "this user may not open " + closed.front().path + ": it is not in the group " + names +
         " (sudo usermod -aG GROUP USER, then log in again; for a service: SupplementaryGroups=video render)";
}

} // namespace scenebus::cuda
