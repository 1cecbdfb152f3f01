#include "lens/board.h"

#include "lens/markers.h"

#include <cmath>

namespace scenebus::lens {

int cornerCount(const Board& board) {
  return (board.columns - 1) * (board.rows - 1);
}

cv::Point2f cornerPosition(const Board& board, int corner) {
  const int perRow = board.columns - 1;
  return {static_cast<float>((corner % perRow + 1) * board.squareSize),
          static_cast<float>((corner / perRow + 1) * board.squareSize)};
}

bool isBlack(const Board& board, Layout layout, int row, int column) {
  // A legacy board is counted from its bottom.
  const int from = layout == Layout::kLegacy ? board.rows - 1 - row : row;
  return (from + column) % 2 == 0;
}

std::vector<MarkerPlace> markerPlaces(const Board& board, Layout layout) {
  std::vector<MarkerPlace> places;
  const double margin = (board.squareSize - board.markerSize) / 2;
  for (int row = 0; row < board.rows; ++row) {
    for (int column = 0; column < board.columns; ++column) {
      if (isBlack(board, layout, row, column))
        continue;
      MarkerPlace place;
      place.id = static_cast<int>(places.size());
      place.row = row;
      place.column = column;
      const auto left = static_cast<float>(column * board.squareSize + margin);
      const auto top = static_cast<float>(row * board.squareSize + margin);
      const auto side = static_cast<float>(board.markerSize);
      place.corners[0] = {left, top};
      place.corners[1] = {left + side, top};
      place.corners[2] = {left + side, top + side};
      place.corners[3] = {left, top + side};
      places.push_back(place);
    }
  }
  return places;
}

cv::Mat drawBoard(const Board& board, Layout layout, int squarePixels) {
  const int margin = squarePixels / 2;
  cv::Mat picture(board.rows * squarePixels + 2 * margin, board.columns * squarePixels + 2 * margin, CV_8UC1,
                  cv::Scalar(255));
  for (int row = 0; row < board.rows; ++row)
    for (int column = 0; column < board.columns; ++column)
      if (isBlack(board, layout, row, column))
        picture(cv::Rect(margin + column * squarePixels, margin + row * squarePixels, squarePixels, squarePixels)) = 0;
  if (!board.isCharuco)
    return picture;
  const int side = static_cast<int>(std::lround(squarePixels * board.markerSize / board.squareSize));
  const int inset = (squarePixels - side) / 2;
  for (const MarkerPlace& place : markerPlaces(board, layout)) {
    const cv::Rect where(margin + place.column * squarePixels + inset, margin + place.row * squarePixels + inset, side,
                         side);
    drawMarker(board.dictionary, place.id, side).copyTo(picture(where));
  }
  return picture;
}

} // namespace scenebus::lens
