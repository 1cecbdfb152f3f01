#include "lens/lensSolver.h"

#include "common/codedError.h"

#include <cmath>

#include <opencv2/core/version.hpp>
#include <opencv2/imgproc.hpp>
#if CV_VERSION_MAJOR >= 5
#include <opencv2/3d.hpp>
#include <opencv2/calib.hpp>
#else
#include <opencv2/calib3d.hpp>
#endif

namespace scenebus::lens {

namespace {

struct Points {
  std::vector<std::vector<cv::Point3d>> board;
  std::vector<std::vector<cv::Point2d>> picture;
};

Points pointsOf(const Board& board, const std::vector<std::vector<SeenCorner>>& views) {
  Points points;
  for (const auto& view : views) {
    auto& onBoard = points.board.emplace_back();
    auto& inPicture = points.picture.emplace_back();
    for (const SeenCorner& seen : view) {
      const cv::Point2f at = cornerPosition(board, seen.corner);
      onBoard.emplace_back(at.x, at.y, 0);
      inPicture.emplace_back(seen.at.x, seen.at.y);
    }
  }
  return points;
}

double rms(const std::vector<cv::Point2d>& a, const std::vector<cv::Point2d>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += (a[i] - b[i]).dot(a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

/** Between the board's normal and the direction in which the camera looks. */
double tiltDegrees(const cv::Mat& rotationVector) {
  cv::Mat rotation;
  cv::Rodrigues(rotationVector, rotation);
  return std::acos(std::min(1.0, std::fabs(rotation.at<double>(2, 2)))) * 180 / CV_PI;
}

Lens lensOf(const cv::Mat& matrix, const cv::Mat& distortion) {
  Lens lens;
  lens.fx = matrix.at<double>(0, 0);
  lens.fy = matrix.at<double>(1, 1);
  lens.cx = matrix.at<double>(0, 2);
  lens.cy = matrix.at<double>(1, 2);
  const cv::Mat flat = distortion.reshape(1, 1);
  for (int i = 0; i < flat.cols; ++i)
    lens.distortion.push_back(flat.at<double>(i));
  return lens;
}

Lens solvePinhole(const Points& points, cv::Size picture, LensModel model) {
  std::vector<std::vector<cv::Point3f>> board;
  std::vector<std::vector<cv::Point2f>> seen;
  for (std::size_t i = 0; i < points.board.size(); ++i) {
    board.emplace_back(points.board[i].begin(), points.board[i].end());
    seen.emplace_back(points.picture[i].begin(), points.picture[i].end());
  }
  cv::Mat matrix, distortion, sigmas, sigmasOfPoses, errors;
  std::vector<cv::Mat> rotations, translations;
  const int flags = model == LensModel::kRationalPolynomial ? cv::CALIB_RATIONAL_MODEL : 0;
  const double error =
      cv::calibrateCamera(board, seen, picture, matrix, distortion, rotations, translations, sigmas, sigmasOfPoses,
                          errors, flags, {cv::TermCriteria::COUNT + cv::TermCriteria::EPS, 100, 1e-10});
  const int coefficients = model == LensModel::kRationalPolynomial ? 8 : 5;
  Lens lens = lensOf(matrix, distortion.reshape(1, 1).colRange(0, coefficients));
  lens.rmsPixels = error;
  for (int i = 0; i < 4; ++i)
    lens.sigma[i] = sigmas.at<double>(i);
  for (std::size_t i = 0; i < rotations.size(); ++i) {
    lens.viewRmsPixels.push_back(errors.at<double>(static_cast<int>(i)));
    lens.tiltDegrees.push_back(tiltDegrees(rotations[i]));
  }
  return lens;
}

/**
 * Standard deviations of the first four of the lens's eight parameters, where the poses are free too: the inverse of
 * the normal equations after the poses have been eliminated, times the variance that is left (Gauss-Markov).
 */
void setSigmas(Lens& lens, const Points& points, const cv::Mat& matrix, const cv::Mat& distortion,
               const std::vector<cv::Mat>& rotations, const std::vector<cv::Mat>& translations) {
  constexpr int kLens = 8, kPose = 6;
  cv::Mat normal = cv::Mat::zeros(kLens, kLens, CV_64F);
  double squares = 0, equations = 0;
  for (std::size_t i = 0; i < points.board.size(); ++i) {
    std::vector<cv::Point2d> projected;
    cv::Mat jacobian; // columns: f (2), c (2), k (4), rotation (3), translation (3), skew
    cv::fisheye::projectPoints(points.board[i], projected, rotations[i], translations[i], matrix, distortion, 0,
                               jacobian);
    const cv::Mat ofLens = jacobian.colRange(0, kLens), ofPose = jacobian.colRange(kLens, kLens + kPose);
    const cv::Mat cross = ofLens.t() * ofPose;
    cv::Mat inverse;
    cv::invert(ofPose.t() * ofPose, inverse, cv::DECOMP_SVD);
    normal += ofLens.t() * ofLens - cross * inverse * cross.t();
    const double error = rms(points.picture[i], projected);
    squares += error * error * static_cast<double>(projected.size());
    equations += 2 * static_cast<double>(projected.size());
  }
  const double free = equations - kLens - kPose * static_cast<double>(points.board.size());
  cv::Mat covariance;
  cv::invert(normal, covariance, cv::DECOMP_SVD);
  for (int i = 0; i < 4; ++i)
    lens.sigma[i] = std::sqrt(std::max(0.0, covariance.at<double>(i, i) * squares / std::max(1.0, free)));
}

Lens solveFisheye(const Points& points, cv::Size picture) {
  cv::Mat matrix = cv::Mat::eye(3, 3, CV_64F), distortion = cv::Mat::zeros(4, 1, CV_64F);
  std::vector<cv::Mat> rotations, translations;
  const int flags = cv::fisheye::CALIB_RECOMPUTE_EXTRINSIC | cv::fisheye::CALIB_FIX_SKEW;
  const double error =
      cv::fisheye::calibrate(points.board, points.picture, picture, matrix, distortion, rotations, translations, flags,
                             {cv::TermCriteria::COUNT + cv::TermCriteria::EPS, 200, 1e-10});
  Lens lens = lensOf(matrix, distortion);
  lens.rmsPixels = error;
  for (std::size_t i = 0; i < points.board.size(); ++i) {
    std::vector<cv::Point2d> projected;
    cv::fisheye::projectPoints(points.board[i], projected, rotations[i], translations[i], matrix, distortion);
    lens.viewRmsPixels.push_back(rms(points.picture[i], projected));
    lens.tiltDegrees.push_back(tiltDegrees(rotations[i]));
  }
  setSigmas(lens, points, matrix, distortion, rotations, translations);
  return lens;
}

} // namespace

Lens solveLens(const Board& board, const std::vector<std::vector<SeenCorner>>& views, cv::Size picture,
               LensModel model) {
  const Points points = pointsOf(board, views);
  Lens lens;
  try {
    lens = model == LensModel::kEquidistant ? solveFisheye(points, picture) : solvePinhole(points, picture, model);
  } catch (const cv::Exception& error) {
    throw CodedError("ERR_CALIBRATION_FAILED",
                     "these views determine no lens (OpenCV: " + std::string(error.err) + ")");
  }
  const double numbers[] = {lens.fx, lens.fy, lens.cx, lens.cy, lens.rmsPixels};
  for (double number : numbers)
    if (!std::isfinite(number))
      throw CodedError("ERR_CALIBRATION_FAILED", "these views determine no lens: the solution is not finite");
  return lens;
}

} // namespace scenebus::lens
