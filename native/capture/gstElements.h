#pragma once
#include <string>
#include <vector>

namespace scenebus::capture {

/**
 * Those of the elements that GStreamer here does not have. OpenCV (seen with 4.6) waits for ever on a pipeline with an
 * unknown element, so pipelines are checked first. GStreamer is looked up at run time: it is no dependency of this
 * build. Empty when GStreamer cannot be asked.
 */
std::vector<std::string> missingGstElements(const std::vector<std::string>& names);

} // namespace scenebus::capture
