#include "capture/videoDevice.h"
#include "common/fileDescriptor.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>

namespace scenebus::capture {

VideoDevice probeVideoDevice(const std::string& path) {
  VideoDevice device;
  const FileDescriptor descriptor(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!descriptor.isOpen()) {
    const int code = errno;
    device.message = std::strerror(code);
    if (code == ENOENT || code == ENODEV || code == ENXIO || code == ENOTDIR)
      device.state = VideoDevice::State::kMissing;
    else if (code == EACCES || code == EPERM)
      device.state = VideoDevice::State::kDenied;
    else if (code == EBUSY)
      device.state = VideoDevice::State::kBusy;
    else if (code == EISDIR)
      device.state = VideoDevice::State::kNotVideo;
    return device;
  }
  v4l2_capability capability{};
  if (ioctl(descriptor.get(), VIDIOC_QUERYCAP, &capability) != 0) {
    device.state = VideoDevice::State::kNotVideo;
  } else {
    device.card.assign(reinterpret_cast<const char*>(capability.card),
                       strnlen(reinterpret_cast<const char*>(capability.card), sizeof capability.card));
    // A camera often shows two nodes; the second carries metadata only.
    const uint32_t abilities =
        (capability.capabilities & V4L2_CAP_DEVICE_CAPS) != 0 ? capability.device_caps : capability.capabilities;
    device.state = (abilities & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE)) != 0
                       ? VideoDevice::State::kReady
                       : VideoDevice::State::kNoCapture;
  }
  return device;
}

} // namespace scenebus::capture
