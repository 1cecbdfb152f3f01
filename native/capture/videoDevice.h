#pragma once
#include <string>

namespace scenebus::capture {

/** What stands at a path such as /dev/video0, told apart so that each case can get its own advice. */
struct VideoDevice {
  enum class State { kReady, kMissing, kDenied, kBusy, kNotVideo, kNoCapture, kFailed };
  State state = State::kFailed;
  std::string card;    // name that the driver gives, when it answered
  std::string message; // of the system, for kFailed
};

/** Asks the driver (VIDIOC_QUERYCAP) without starting anything. */
VideoDevice probeVideoDevice(const std::string& path);

} // namespace scenebus::capture
