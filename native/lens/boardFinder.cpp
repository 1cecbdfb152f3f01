#include "lens/boardFinder.h"

#include "lens/edgeSharpness.h"
#include "lens/markers.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <opencv2/core/version.hpp>
#include <opencv2/imgproc.hpp>
#if CV_VERSION_MAJOR >= 5
#include <opencv2/3d.hpp>
#include <opencv2/objdetect.hpp>
#else
#include <opencv2/calib3d.hpp>
#endif

namespace scenebus::lens {

namespace {

constexpr std::size_t kMinMarkers = 4;
constexpr std::size_t kMinCorners = 6;

double distance(const cv::Point2f& a, const cv::Point2f& b) {
  return std::hypot(a.x - b.x, a.y - b.y);
}

SeenBoard findChessboard(const cv::Mat& grey, const Board& board) {
  SeenBoard seen;
  std::vector<cv::Point2f> points;
  const cv::Size size(board.columns - 1, board.rows - 1);
  const int flags = cv::CALIB_CB_NORMALIZE_IMAGE | cv::CALIB_CB_EXHAUSTIVE | cv::CALIB_CB_ACCURACY;
  if (!cv::findChessboardCornersSB(grey, size, points, flags))
    return seen;
  for (std::size_t i = 0; i < points.size(); ++i)
    seen.corners.push_back({static_cast<int>(i), points[i]});
  return seen;
}

using MarkersById = std::map<int, Marker>;

struct Fit {
  Layout layout = Layout::kCurrent;
  int agreeing = 0;
};

/** How many corners of markers lie where one plane would have them. */
Fit fitLayout(const Board& board, Layout layout, const MarkersById& markers) {
  std::vector<cv::Point2f> from, to;
  double side = 0;
  for (const MarkerPlace& place : markerPlaces(board, layout)) {
    const auto found = markers.find(place.id);
    if (found == markers.end())
      continue;
    for (int k = 0; k < 4; ++k) {
      from.push_back(place.corners[k]);
      to.push_back(found->second.corners[k]);
    }
    side += distance(found->second.corners[0], found->second.corners[1]);
  }
  if (from.size() < 4 * kMinMarkers)
    return {layout, 0};
  side /= static_cast<double>(from.size()) / 4;
  cv::Mat agrees;
  // A lens bends the plane; a marker in a wrong place is off by more than a whole square.
  const cv::Mat plane = cv::findHomography(from, to, cv::RANSAC, 0.4 * side, agrees);
  return {layout, plane.empty() ? 0 : cv::countNonZero(agrees)};
}

/** From the markers around it, by a plane through only those: a lens bends a larger one. */
std::optional<cv::Point2f> predictCorner(const cv::Point2f& corner, const Board& board,
                                         const std::vector<MarkerPlace>& places, const MarkersById& markers,
                                         double& clearance) {
  struct Near {
    double away;
    const MarkerPlace* place;
    const Marker* marker;
  };
  std::vector<Near> near;
  for (const MarkerPlace& place : places) {
    const auto found = markers.find(place.id);
    if (found == markers.end())
      continue;
    const cv::Point2f centre = (place.corners[0] + place.corners[2]) * 0.5F;
    near.push_back({distance(centre, corner), &place, &found->second});
  }
  std::sort(near.begin(), near.end(), [](const Near& a, const Near& b) { return a.away < b.away; });
  // One of the two white squares that touch the corner, at half a diagonal.
  if (near.empty() || near[0].away > board.squareSize)
    return std::nullopt;
  // Two that touch it lie on both sides of it; only with one are others needed to span a plane.
  const std::size_t wanted = near.size() > 1 && near[1].away < board.squareSize ? 2 : 4;
  std::vector<cv::Point2f> from, to;
  for (std::size_t i = 0; i < near.size() && i < wanted; ++i) {
    if (near[i].away > 2.3 * board.squareSize)
      break;
    for (int k = 0; k < 4; ++k) {
      from.push_back(near[i].place->corners[k]);
      to.push_back(near[i].marker->corners[k]);
    }
  }
  const cv::Mat plane = cv::findHomography(from, to, 0);
  if (plane.empty())
    return std::nullopt;
  std::vector<cv::Point2f> predicted;
  cv::perspectiveTransform(std::vector<cv::Point2f>{corner}, predicted, plane);
  clearance = INFINITY;
  for (const cv::Point2f& other : near[0].marker->corners)
    clearance = std::min(clearance, distance(other, predicted[0]));
  return predicted[0];
}

/** Two black and two white squares meet: turned by half a turn it looks the same, as the corner of a marker does not.
 */
bool isCrossing(const cv::Mat& grey, const cv::Point2f& at, double radius) {
  constexpr int kSamples = 24;
  double ring[kSamples];
  for (int i = 0; i < kSamples; ++i) {
    const double angle = 2 * CV_PI * i / kSamples;
    ring[i] = brightness(grey, at + cv::Point2f(static_cast<float>(radius * std::cos(angle)),
                                                static_cast<float>(radius * std::sin(angle))));
    if (std::isnan(ring[i]))
      return false;
  }
  const auto [low, high] = std::minmax_element(ring, ring + kSamples);
  const double middle = (*low + *high) / 2, contrast = *high - *low;
  double asymmetry = 0;
  int changes = 0;
  for (int i = 0; i < kSamples; ++i) {
    asymmetry += std::fabs(ring[i] - ring[(i + kSamples / 2) % kSamples]) / kSamples;
    changes += (ring[i] > middle) != (ring[(i + 1) % kSamples] > middle);
  }
  return contrast > 20 && changes == 4 && asymmetry < 0.25 * contrast;
}

SeenBoard findCharuco(const cv::Mat& grey, const Board& board, std::optional<Layout> wanted) {
  SeenBoard seen;
  MarkersById markers;
  std::vector<int> twice;
  for (const Marker& marker : findMarkers(grey, board.dictionary))
    if (!markers.emplace(marker.id, marker).second)
      twice.push_back(marker.id);
  for (int id : twice) // a reflection, or a second board
    markers.erase(id);
  seen.markers = static_cast<int>(markers.size());

  Fit best = fitLayout(board, wanted.value_or(Layout::kCurrent), markers);
  if (!wanted && board.rows % 2 == 0) {
    const Fit legacy = fitLayout(board, Layout::kLegacy, markers);
    if (legacy.agreeing > best.agreeing)
      best = legacy;
  }
  seen.layout = best.layout;
  // Markers of another board or layout do not lie in one plane with this one's.
  if (best.agreeing < 4 * static_cast<int>(kMinMarkers) || best.agreeing < 2 * seen.markers)
    return seen;

  const std::vector<MarkerPlace> places = markerPlaces(board, best.layout);
  for (int corner = 0; corner < cornerCount(board); ++corner) {
    double clearance = 0;
    const auto predicted = predictCorner(cornerPosition(board, corner), board, places, markers, clearance);
    if (!predicted)
      continue;
    // The window must not reach the marker, whose corner is as strong.
    const int half = static_cast<int>(std::clamp(clearance * 0.6, 0.0, 12.0));
    if (half < 2 || predicted->x < half + 1 || predicted->y < half + 1 || predicted->x > grey.cols - half - 2 ||
        predicted->y > grey.rows - half - 2)
      continue;
    std::vector<cv::Point2f> refined{*predicted};
    cv::cornerSubPix(grey, refined, {half, half}, {-1, -1},
                     {cv::TermCriteria::COUNT + cv::TermCriteria::EPS, 50, 0.001});
    if (distance(refined[0], *predicted) < half && isCrossing(grey, refined[0], std::max(2.0, 0.7 * half)))
      seen.corners.push_back({corner, refined[0]});
  }
  if (seen.corners.size() < kMinCorners)
    seen.corners.clear();
  return seen;
}

} // namespace

SeenBoard findBoard(const cv::Mat& grey, const Board& board, std::optional<Layout> layout) {
  SeenBoard seen = board.isCharuco ? findCharuco(grey, board, layout) : findChessboard(grey, board);
  if (!seen.corners.empty())
    seen.edgeWidthPixels = edgeWidth(grey, board, seen.corners);
  return seen;
}

} // namespace scenebus::lens
