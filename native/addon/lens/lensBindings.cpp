// findBoard(pixels, picture, board, layout) -> Promise; solveLens(board, views, picture) -> Promise; drawBoard(…);
// typed in calibration/camera/lens-addon.ts.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "addon/jobs.h"
#include "addon/nodeValues.h"
#include "addon/registrar.h"
#include "lens/boardFinder.h"
#include "lens/lensSolver.h"

namespace scenebus::addon {

namespace {

using namespace scenebus::lens;

// calibration/camera is stricter; this keeps the arithmetic in range whoever calls.
constexpr int kMaxSide = 1 << 16;
constexpr int kMaxSquares = 64;
constexpr int kMaxSquarePixels = 1024;
constexpr std::uint32_t kMaxViews = 4096;

int intWithin(const Napi::Object& object, const char* name, int low, int high) {
  const int value = intOf(object, name);
  if (value < low || value > high)
    throw Napi::TypeError::New(object.Env(), std::string("Expected ") + name + " in " + std::to_string(low) + "–" +
                                                 std::to_string(high));
  return value;
}

Board boardOf(const Napi::Value& value) {
  if (!value.IsObject())
    throw Napi::TypeError::New(value.Env(), "Expected a board");
  const auto object = value.As<Napi::Object>();
  Board board;
  board.isCharuco = object.Get("isCharuco").ToBoolean();
  board.columns = intWithin(object, "columns", 3, kMaxSquares);
  board.rows = intWithin(object, "rows", 3, kMaxSquares);
  board.squareSize = numberOf(object, "squareSize");
  if (board.isCharuco) {
    board.markerSize = numberOf(object, "markerSize");
    board.dictionary = textOf(object, "dictionary");
  }
  if (!(board.squareSize > 0) || (board.isCharuco && !(board.markerSize > 0 && board.markerSize < board.squareSize)))
    throw Napi::TypeError::New(value.Env(), "Expected 0 < markerSize < squareSize");
  return board;
}

std::optional<Layout> layoutOf(const Napi::Value& value) {
  if (value.IsUndefined())
    return std::nullopt;
  const std::string name = value.ToString().Utf8Value();
  if (name != "current" && name != "legacy")
    throw Napi::TypeError::New(value.Env(), "Expected the layout current or legacy");
  return name == "legacy" ? Layout::kLegacy : Layout::kCurrent;
}

const char* nameOf(Layout layout) {
  return layout == Layout::kLegacy ? "legacy" : "current";
}

cv::Size sizeOf(const Napi::Object& picture) {
  return {intWithin(picture, "width", 1, kMaxSide), intWithin(picture, "height", 1, kMaxSide)};
}

Napi::Value findBoardBinding(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[1].IsObject())
    throw Napi::TypeError::New(env, "Expected findBoard(pixels, picture, board, layout?)");
  const auto picture = info[1].As<Napi::Object>();
  const cv::Size size = sizeOf(picture);
  const bool isBgr = picture.Get("bgr").ToBoolean();
  auto bytes = requireArray<Napi::Uint8Array>(info[0], napi_uint8_array, "a Uint8Array");
  if (bytes.ByteLength() != static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height) * 3)
    throw Napi::TypeError::New(env, "Expected width × height × 3 bytes");
  const Board board = boardOf(info[2]);
  const auto layout = layoutOf(info[3]);
  std::uint8_t* pixels = bytes.Data();
  const auto seen = std::make_shared<SeenBoard>();
  Jobs& jobs = Jobs::of(env);
  return jobs.start(
      jobs.shortThreads(), {},
      [=](CancelFlag) {
        cv::Mat grey;
        cv::cvtColor(cv::Mat(size, CV_8UC3, pixels), grey, isBgr ? cv::COLOR_BGR2GRAY : cv::COLOR_RGB2GRAY);
        *seen = findBoard(grey, board, layout);
      },
      [seen](Napi::Env js) -> Napi::Value {
        Napi::Object result = Napi::Object::New(js);
        auto corners = Napi::Int32Array::New(js, seen->corners.size());
        auto points = Napi::Float64Array::New(js, seen->corners.size() * 2);
        for (std::size_t i = 0; i < seen->corners.size(); ++i) {
          corners[i] = seen->corners[i].corner;
          points[2 * i] = seen->corners[i].at.x;
          points[2 * i + 1] = seen->corners[i].at.y;
        }
        result.Set("corners", corners);
        result.Set("points", points);
        result.Set("layout", nameOf(seen->layout));
        result.Set("markers", seen->markers);
        result.Set("edgeWidthPixels", seen->edgeWidthPixels);
        return result;
      },
      {info[0]});
}

std::vector<SeenCorner> viewOf(const Napi::Value& value, int corners) {
  if (!value.IsObject())
    throw Napi::TypeError::New(value.Env(), "Expected a view");
  const auto object = value.As<Napi::Object>();
  const auto numbers =
      requireArray<Napi::Int32Array>(object.Get("corners"), napi_int32_array, "corners as an Int32Array");
  const auto points =
      requireArray<Napi::Float64Array>(object.Get("points"), napi_float64_array, "points as a Float64Array");
  if (numbers.ElementLength() < 6 || points.ElementLength() != 2 * numbers.ElementLength())
    throw Napi::TypeError::New(value.Env(), "Expected 6 corners or more, with two coordinates each");
  std::vector<SeenCorner> view;
  for (std::size_t i = 0; i < numbers.ElementLength(); ++i) {
    if (numbers[i] < 0 || numbers[i] >= corners)
      throw Napi::TypeError::New(value.Env(), "Expected corners of the board");
    view.push_back({numbers[i], {static_cast<float>(points[2 * i]), static_cast<float>(points[2 * i + 1])}});
  }
  return view;
}

LensModel lensModelOf(const Napi::Value& value) {
  const std::string name = value.ToString().Utf8Value();
  if (name == "plumb_bob")
    return LensModel::kPlumbBob;
  if (name == "rational_polynomial")
    return LensModel::kRationalPolynomial;
  if (name == "equidistant")
    return LensModel::kEquidistant;
  throw Napi::TypeError::New(value.Env(), "Expected plumb_bob, rational_polynomial or equidistant");
}

Napi::Array numbers(Napi::Env env, const double* values, std::size_t count) {
  Napi::Array list = Napi::Array::New(env, count);
  for (std::size_t i = 0; i < count; ++i)
    list[static_cast<std::uint32_t>(i)] = values[i];
  return list;
}

Napi::Value solveLensBinding(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 4 || !info[1].IsArray() || !info[2].IsObject())
    throw Napi::TypeError::New(env, "Expected solveLens(board, views, picture, model)");
  const Board board = boardOf(info[0]);
  const auto list = info[1].As<Napi::Array>();
  if (list.Length() < 3 || list.Length() > kMaxViews)
    throw Napi::TypeError::New(env, "Expected 3 to 4096 views");
  std::vector<std::vector<SeenCorner>> views;
  for (std::uint32_t i = 0; i < list.Length(); ++i)
    views.push_back(viewOf(list.Get(i), cornerCount(board)));
  const cv::Size size = sizeOf(info[2].As<Napi::Object>());
  const LensModel model = lensModelOf(info[3]);
  const auto lens = std::make_shared<Lens>();
  Jobs& jobs = Jobs::of(env);
  return jobs.start(
      jobs.shortThreads(), {}, [=](CancelFlag) { *lens = solveLens(board, views, size, model); },
      [lens](Napi::Env js) -> Napi::Value {
        Napi::Object result = Napi::Object::New(js);
        const double focal[] = {lens->fx, lens->fy, lens->cx, lens->cy};
        result.Set("matrix", numbers(js, focal, 4));
        result.Set("distortion", numbers(js, lens->distortion.data(), lens->distortion.size()));
        result.Set("sigma", numbers(js, lens->sigma, 4));
        result.Set("rmsPixels", lens->rmsPixels);
        result.Set("viewRmsPixels", numbers(js, lens->viewRmsPixels.data(), lens->viewRmsPixels.size()));
        result.Set("tiltDegrees", numbers(js, lens->tiltDegrees.data(), lens->tiltDegrees.size()));
        return result;
      },
      {});
}

Napi::Value drawBoardBinding(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Board board = boardOf(info[0]);
  const Layout layout = layoutOf(info[1]).value_or(Layout::kCurrent);
  const int squarePixels = info[2].IsNumber() ? info[2].As<Napi::Number>().Int32Value() : 0;
  if (squarePixels < 16 || squarePixels > kMaxSquarePixels)
    throw Napi::TypeError::New(env, "Expected 16 to 1024 pixels a square");
  cv::Mat picture;
  try {
    picture = drawBoard(board, layout, squarePixels);
  } catch (...) {
    throw jsError(env, currentFailure());
  }
  auto grey = Napi::Uint8Array::New(env, picture.total());
  std::copy(picture.begin<unsigned char>(), picture.end<unsigned char>(), grey.Data());
  Napi::Object result = Napi::Object::New(env);
  result.Set("width", picture.cols);
  result.Set("height", picture.rows);
  result.Set("grey", grey);
  return result;
}

void registerLens(Napi::Env env, Napi::Object exports) {
  exports.Set("findBoard", Napi::Function::New(env, findBoardBinding, "findBoard"));
  exports.Set("solveLens", Napi::Function::New(env, solveLensBinding, "solveLens"));
  exports.Set("drawBoard", Napi::Function::New(env, drawBoardBinding, "drawBoard"));
}

const Registrar kRegistrar{registerLens};

} // namespace

} // namespace scenebus::addon
