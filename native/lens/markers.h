#pragma once
#include <string>
#include <vector>

#include <opencv2/core.hpp>

/** ArUco markers, whichever of OpenCV's two interfaces to them is there. */
namespace scenebus::lens {

struct Marker {
  int id = 0;
  cv::Point2f corners[4]; ///< clockwise from the marker's own top left
};

/** @throws CodedError ERR_ARGUMENT_INVALID for a name that OpenCV does not know, ERR_NATIVE_UNAVAILABLE without ArUco
 */
std::vector<Marker> findMarkers(const cv::Mat& grey, const std::string& dictionary);
cv::Mat drawMarker(const std::string& dictionary, int id, int sidePixels);
/** How many different markers there are. */
int dictionarySize(const std::string& dictionary);

} // namespace scenebus::lens
