#include "lens/edgeSharpness.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

namespace scenebus::lens {

namespace {

constexpr double kStep = 0.25; // pixels between samples

} // namespace

double brightness(const cv::Mat& grey, const cv::Point2f& at) {
  const int x = static_cast<int>(std::floor(at.x));
  const int y = static_cast<int>(std::floor(at.y));
  if (x < 0 || y < 0 || x + 1 >= grey.cols || y + 1 >= grey.rows)
    return NAN;
  const double u = at.x - x, v = at.y - y;
  const auto* above = grey.ptr<unsigned char>(y) + x;
  const auto* below = grey.ptr<unsigned char>(y + 1) + x;
  return (1 - v) * ((1 - u) * above[0] + u * above[1]) + v * ((1 - u) * below[0] + u * below[1]);
}

namespace {

/** Across the middle of the edge between two corners, from one square into the other. */
std::optional<double> widthOfEdge(const cv::Mat& grey, const cv::Point2f& a, const cv::Point2f& b, double reach) {
  const cv::Point2f along = b - a;
  const double length = std::hypot(along.x, along.y);
  const cv::Point2f across(static_cast<float>(-along.y / length), static_cast<float>(along.x / length));
  std::vector<double> profile;
  for (double at = -reach * length; at <= reach * length; at += kStep) {
    double sum = 0;
    for (float part : {0.4F, 0.5F, 0.6F})
      sum += brightness(grey, a + along * part + across * static_cast<float>(at));
    if (std::isnan(sum))
      return std::nullopt;
    profile.push_back(sum / 3);
  }
  if (profile.size() < 8)
    return std::nullopt;
  const auto extremes = std::minmax_element(profile.begin(), profile.end());
  const double low = *extremes.first, range = *extremes.second - low;
  if (range < 20) // grey levels: no edge to measure
    return std::nullopt;
  if (profile.front() > profile.back())
    std::reverse(profile.begin(), profile.end());
  const double tenth = low + 0.1 * range, nineTenths = low + 0.9 * range;
  const auto middle = static_cast<std::ptrdiff_t>(profile.size() / 2);
  // Outwards from the edge itself: what lies beyond, a marker for one, has edges of its own.
  std::ptrdiff_t from = middle, to = middle;
  while (from > 0 && profile[static_cast<std::size_t>(from)] > tenth)
    --from;
  while (to + 1 < static_cast<std::ptrdiff_t>(profile.size()) && profile[static_cast<std::size_t>(to)] < nineTenths)
    ++to;
  return static_cast<double>(to - from) * kStep;
}

} // namespace

double edgeWidth(const cv::Mat& grey, const Board& board, const std::vector<SeenCorner>& corners) {
  std::map<int, cv::Point2f> byNumber;
  for (const SeenCorner& seen : corners)
    byNumber.emplace(seen.corner, seen.at);
  // Not into the markers of white squares.
  const double reach = board.isCharuco ? 0.45 * (1 - board.markerSize / board.squareSize) : 0.35;
  const int perRow = board.columns - 1;
  std::vector<double> widths;
  for (const auto& [number, at] : byNumber) {
    for (int step : {1, perRow}) {
      if (step == 1 && number % perRow == perRow - 1)
        continue;
      const auto neighbour = byNumber.find(number + step);
      if (neighbour == byNumber.end())
        continue;
      if (const auto width = widthOfEdge(grey, at, neighbour->second, reach))
        widths.push_back(*width);
    }
  }
  if (widths.empty())
    return 0;
  const auto middle = widths.begin() + static_cast<std::ptrdiff_t>(widths.size() / 2);
  std::nth_element(widths.begin(), middle, widths.end());
  return *middle;
}

} // namespace scenebus::lens
