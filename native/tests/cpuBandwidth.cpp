#include "cpu/alignedBuffer.h"
#include "cpu/cpuFeatures.h"
#include "cpu/threadPool.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

/**
 * Memory bandwidth probe of the benchmarks: for every line on standard input reads a gigabyte with all threads, some
 * passes in a row, and prints the best GB/s. Beside every round, because the bandwidth of a shared machine drifts.
 */
int main(int argc, char** argv) {
  using namespace scenebus::cpu;
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  constexpr int kPieces = 256, kPasses = 3;
  const int threads = argc > 1 ? std::atoi(argv[1]) : physicalCoreCount();
  ThreadPool pool(threads > 0 ? threads : 1);
  AlignedBuffer<std::uint64_t> memory(kBytes / 8);
  std::uint64_t checksum = 0;
  for (int request = std::getchar(); request != EOF; request = std::getchar()) {
    if (request != '\n')
      continue;
    double best = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      std::uint64_t sums[kPieces] = {};
      const auto start = std::chrono::steady_clock::now();
      pool.forEach(kPieces, [&](int piece, int) {
        const std::uint64_t* data = memory.data() + kBytes / 8 / kPieces * piece;
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < kBytes / 8 / kPieces; ++i)
          sum += data[i];
        sums[piece] = sum;
      });
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      for (const auto sum : sums)
        checksum += sum;
      const double rate = static_cast<double>(kBytes) / seconds.count() * 1e-9;
      best = rate > best ? rate : best;
    }
    std::printf("%.2f\n", best);
    std::fflush(stdout);
  }
  return checksum == 0 ? 0 : 1;
}
