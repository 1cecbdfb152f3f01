#pragma once
#include "gpu/driver/device.h"

#include <string>

namespace scenebus::test {

/** What is measured; the 11B's shapes, or a thousandth of the work to try the harness itself. */
struct BenchScale {
  int layers = 40;
  int hidden = 4096;
  int heads = 32;
  int kvHeads = 8;
  int headDim = 128;
  int intermediate = 14336;
  int vocabulary = 128256;
  int crossKeys = 6404;
  int capacity = 4352;
  int context = 4096;
  int prefillRows = 512;
  /** Bytes that copies of one weight take together, so that no cache holds them. */
  std::size_t spreadBytes = std::size_t{512} << 20;
  int rounds = 7;
};

BenchScale smallBenchScale();

/** Prints a table while it goes, and returns the same as JSON. */
std::string runBench(cuda::Device& device, cuda::Stream stream, const BenchScale& scale);

} // namespace scenebus::test
