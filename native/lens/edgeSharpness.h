#pragma once
#include "lens/boardFinder.h"

#include <vector>

namespace scenebus::lens {

/** Between four pixels of an 8-bit picture; NaN outside of it. */
double brightness(const cv::Mat& grey, const cv::Point2f& at);

/**
 * Over how many pixels brightness rises from 10 % to 90 % where a black square meets a white one; the median over the
 * board. About 1 to 3 for a picture in focus; motion and a lens out of focus make it larger.
 */
double edgeWidth(const cv::Mat& grey, const Board& board, const std::vector<SeenCorner>& corners);

} // namespace scenebus::lens
