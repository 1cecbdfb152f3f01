#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

namespace scenebus::lens {

/**
 * How the squares of a ChArUco board are coloured and its markers placed. OpenCV changed that in 4.6 for boards with an
 * even number of rows: a current board begins with a black square at the top left, a legacy one with a white square
 * (opencv_contrib issue 3291). Boards with an odd number of rows are the same in both.
 */
enum class Layout { kCurrent, kLegacy };

/** A flat board of squares. Coordinates are of its plane: x to the right, y down, from the top left, in `squareSize`'s
 * unit. */
struct Board {
  bool isCharuco = false;
  int columns = 0; ///< squares
  int rows = 0;
  double squareSize = 0;
  double markerSize = 0;  ///< side of a marker with its black border; ChArUco only
  std::string dictionary; ///< such as DICT_5X5_100; ChArUco only
};

/** Corners where four squares meet: `columns - 1` a row, numbered row by row from the top left. */
int cornerCount(const Board& board);
cv::Point2f cornerPosition(const Board& board, int corner);

bool isBlack(const Board& board, Layout layout, int row, int column);

/** One marker of a ChArUco board; the corners clockwise from its own top left. */
struct MarkerPlace {
  int id = 0;
  int row = 0, column = 0;
  cv::Point2f corners[4];
};
/** In the order of their ids, which count the white squares row by row. */
std::vector<MarkerPlace> markerPlaces(const Board& board, Layout layout);

/** A picture of the board in 8-bit grey, with a white margin of half a square. */
cv::Mat drawBoard(const Board& board, Layout layout, int squarePixels);

} // namespace scenebus::lens
