#pragma once
#include <cstdint>

/** Parameters of the kernels in int4Gemv.cu and int4Gemm.cu; the same bytes on host and device. */
namespace scenebus::kernels {

struct Int4Target {
  const std::uint8_t* packed;
  const std::uint16_t* scales;
  void* y;
  int outputs;
  /** First block of the grid that works for it. */
  int firstBlock;
};

struct Int4GemvArguments {
  Int4Target targets[3];
  const std::uint16_t* x;
  int targetCount;
  int rows;
  int inputs;
  int groupSize;
  int scalesAreBf16;
  int outputIsF32;
};

struct Int4GemmArguments {
  const std::uint8_t* packed;
  const std::uint16_t* scales;
  const std::uint16_t* x;
  void* y;
  int rows;
  int outputs;
  int inputs;
  int groupSize;
  int scalesAreBf16;
  int outputIsF32;
};

/** Outputs of a tile of the GEMM; the rows are 32 or 128. */
constexpr int kGemmTileOutputs = 128;
constexpr int kGemmThreads = 256;
constexpr int kGemvThreads = 256;

/** Dynamic shared memory of the GEMM: two stages of x and packed weights, and of scales as f32. */
constexpr unsigned gemmSharedBytes(int tileRows, int words) {
  return 2u * static_cast<unsigned>(tileRows * 64 * words + kGemmTileOutputs * 16 * words + kGemmTileOutputs * 4);
}

} // namespace scenebus::kernels
