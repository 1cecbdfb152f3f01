#pragma once
#include <functional>
#include <string>
#include <vector>

namespace scenebus::cuda {

/** A device file that the driver needs and this process may not open. */
struct ClosedDevice {
  std::string path;
  /** Whose members may; empty when it has no name. */
  std::string group;
};

/**
 * What of an NVIDIA board's device files cannot be opened: on JetPack 6.2 the nodes of `/dev/dri` belong to the group
 * render, the others to video.
 *
 * @param root in place of `/`
 * @param canOpen in place of access(2), which lets root open everything
 */
std::vector<ClosedDevice> closedDevices(const std::string& root = "",
                                        const std::function<bool(const std::string& path)>& canOpen = {});

/** What cuInit's CUDA_ERROR_NOT_SUPPORTED means here, and what to do; see `closedDevices`. */
std::string describeRefusal(const std::vector<ClosedDevice>& closed);

} // namespace scenebus::cuda
