#pragma once
#include "lens/boardFinder.h"

#include <vector>

namespace scenebus::lens {

enum class LensModel {
  kPlumbBob,           ///< k1 k2 p1 p2 k3
  kRationalPolynomial, ///< k1 k2 p1 p2 k3 k4 k5 k6
  kEquidistant,        ///< fisheye: k1 k2 k3 k4
};

struct Lens {
  double fx = 0, fy = 0, cx = 0, cy = 0; ///< pixels
  std::vector<double> distortion;
  double rmsPixels = 0; ///< of the distance between a corner as seen and as computed
  /** Standard deviations of fx, fy, cx, cy, from how well the pictures agree. */
  double sigma[4] = {0, 0, 0, 0};
  std::vector<double> viewRmsPixels; ///< of each view
  std::vector<double> tiltDegrees;   ///< of the board against the picture, of each view
};

/**
 * The lens that explains the views best.
 * @param views corners of the board as each picture shows them, 6 or more a view
 * @throws CodedError ERR_CALIBRATION_FAILED where the views do not determine one
 */
Lens solveLens(const Board& board, const std::vector<std::vector<SeenCorner>>& views, cv::Size picture,
               LensModel model);

} // namespace scenebus::lens
