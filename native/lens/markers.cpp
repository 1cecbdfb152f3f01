#include "lens/markers.h"

#include "common/codedError.h"

#if SCENEBUS_ARUCO
#include <opencv2/core/version.hpp>
// The markers moved from opencv_contrib into OpenCV itself in 4.7, with another interface.
#define SCENEBUS_ARUCO_IN_OBJDETECT (CV_VERSION_MAJOR > 4 || (CV_VERSION_MAJOR == 4 && CV_VERSION_MINOR >= 7))
#if SCENEBUS_ARUCO_IN_OBJDETECT
#include <opencv2/objdetect/aruco_detector.hpp>
#else
#include <opencv2/aruco.hpp>
#endif
#endif

namespace scenebus::lens {

#if SCENEBUS_ARUCO

namespace {

namespace aruco = cv::aruco;

struct Named {
  const char* name;
  int dictionary;
};
#define SCENEBUS_DICTIONARY(name)                                                                                      \
  { #name, static_cast < int>(aruco::name) }
constexpr Named kDictionaries[] = {
    SCENEBUS_DICTIONARY(DICT_4X4_50),         SCENEBUS_DICTIONARY(DICT_4X4_100),
    SCENEBUS_DICTIONARY(DICT_4X4_250),        SCENEBUS_DICTIONARY(DICT_4X4_1000),
    SCENEBUS_DICTIONARY(DICT_5X5_50),         SCENEBUS_DICTIONARY(DICT_5X5_100),
    SCENEBUS_DICTIONARY(DICT_5X5_250),        SCENEBUS_DICTIONARY(DICT_5X5_1000),
    SCENEBUS_DICTIONARY(DICT_6X6_50),         SCENEBUS_DICTIONARY(DICT_6X6_100),
    SCENEBUS_DICTIONARY(DICT_6X6_250),        SCENEBUS_DICTIONARY(DICT_6X6_1000),
    SCENEBUS_DICTIONARY(DICT_7X7_50),         SCENEBUS_DICTIONARY(DICT_7X7_100),
    SCENEBUS_DICTIONARY(DICT_7X7_250),        SCENEBUS_DICTIONARY(DICT_7X7_1000),
    SCENEBUS_DICTIONARY(DICT_ARUCO_ORIGINAL), SCENEBUS_DICTIONARY(DICT_APRILTAG_16h5),
    SCENEBUS_DICTIONARY(DICT_APRILTAG_25h9),  SCENEBUS_DICTIONARY(DICT_APRILTAG_36h10),
    SCENEBUS_DICTIONARY(DICT_APRILTAG_36h11),
};
#undef SCENEBUS_DICTIONARY

int numberOf(const std::string& name) {
  for (const Named& known : kDictionaries)
    if (name == known.name)
      return known.dictionary;
  throw CodedError("ERR_ARGUMENT_INVALID",
                   "expected one of OpenCV's dictionaries, such as DICT_5X5_100, but got " + name);
}

#if SCENEBUS_ARUCO_IN_OBJDETECT
aruco::Dictionary dictionaryOf(const std::string& name) {
  return aruco::getPredefinedDictionary(numberOf(name));
}
int countOf(const aruco::Dictionary& dictionary) {
  return dictionary.bytesList.rows;
}
#else
cv::Ptr<aruco::Dictionary> dictionaryOf(const std::string& name) {
  return aruco::getPredefinedDictionary(numberOf(name));
}
int countOf(const cv::Ptr<aruco::Dictionary>& dictionary) {
  return dictionary->bytesList.rows;
}
#endif

} // namespace

std::vector<Marker> findMarkers(const cv::Mat& grey, const std::string& dictionary) {
  std::vector<std::vector<cv::Point2f>> corners;
  std::vector<int> ids;
#if SCENEBUS_ARUCO_IN_OBJDETECT
  aruco::ArucoDetector(dictionaryOf(dictionary)).detectMarkers(grey, corners, ids);
#else
  aruco::detectMarkers(grey, dictionaryOf(dictionary), corners, ids);
#endif
  std::vector<Marker> markers;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Marker marker;
    marker.id = ids[i];
    for (std::size_t k = 0; k < 4; ++k)
      marker.corners[k] = corners[i][k];
    markers.push_back(marker);
  }
  return markers;
}

cv::Mat drawMarker(const std::string& dictionary, int id, int sidePixels) {
  const auto known = dictionaryOf(dictionary);
  if (id >= countOf(known))
    throw CodedError("ERR_ARGUMENT_INVALID", "expected a dictionary of more than " + std::to_string(id) +
                                                 " markers for this board, but " + dictionary + " has " +
                                                 std::to_string(countOf(known)));
  cv::Mat picture;
#if SCENEBUS_ARUCO_IN_OBJDETECT
  aruco::generateImageMarker(known, id, sidePixels, picture, 1);
#else
  aruco::drawMarker(known, id, sidePixels, picture, 1);
#endif
  return picture;
}

int dictionarySize(const std::string& dictionary) {
  return countOf(dictionaryOf(dictionary));
}

#else // chessboards only

namespace {
[[noreturn]] void refuse() {
  throw CodedError("ERR_NATIVE_UNAVAILABLE",
                   "this build has no ArUco markers, which ChArUco boards need: use a chessboard, or install OpenCV's "
                   "(Debian, Ubuntu: apt install libopencv-contrib-dev) and build the addons again");
}
} // namespace

std::vector<Marker> findMarkers(const cv::Mat&, const std::string&) {
  refuse();
}
cv::Mat drawMarker(const std::string&, int, int) {
  refuse();
}
int dictionarySize(const std::string&) {
  refuse();
}

#endif

} // namespace scenebus::lens
