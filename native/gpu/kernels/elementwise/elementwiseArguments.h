#pragma once
#include <cstdint>

/** Parameters of the kernels in elementwise.cu; types are numbers of ElementType. */
namespace scenebus::kernels {

struct RmsNormArguments {
  const void* hidden;
  const std::uint16_t* update;
  const float* rowGates;
  void* sum;
  const void* weight;
  std::uint16_t* y;
  int hiddenType;
  int weightType;
  int rows;
  int size;
  float gate;
  float eps;
};

struct ImageTilesArguments {
  const std::uint8_t* image;
  void* tiles;
  double rescaleFactor;
  float mean[3];
  float std[3];
  int width;
  int height;
  int isBgr;
  int columns;
  int tileSize;
  int tileType;
};

constexpr int kElementwiseThreads = 256;

} // namespace scenebus::kernels
