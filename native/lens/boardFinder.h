#pragma once
#include "lens/board.h"

#include <optional>
#include <vector>

namespace scenebus::lens {

struct SeenCorner {
  int corner = 0; ///< as `cornerPosition` counts
  cv::Point2f at; ///< pixels; the centre of the top left pixel is (0, 0)
};

struct SeenBoard {
  std::vector<SeenCorner> corners; ///< empty: no board was found
  /** Of a ChArUco board whose rows are even in number; of any other it says nothing. */
  Layout layout = Layout::kCurrent;
  int markers = 0;
  double edgeWidthPixels = 0; ///< how far an edge between black and white reaches; see `edgeWidth`
};

/**
 * Looks for a board in a picture. A chessboard must be seen wholly, of a ChArUco board any part with four markers will
 * do.
 * @param grey 8-bit
 * @param layout which layout a ChArUco board has; nullopt: as the markers lie in the picture
 */
SeenBoard findBoard(const cv::Mat& grey, const Board& board, std::optional<Layout> layout);

} // namespace scenebus::lens
