#include "cpu/kernels/cpuFeatures.h"
#include "cpu/kernels/threadPool.h"
#include "cpu/memory/alignedBuffer.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

using Line = std::uint64_t __attribute__((vector_size(64)));
constexpr std::size_t kSums = 4;

/** Sum of the numbers in `kSums · steps` lines, `next` from one to the next within a step of `step` lines. */
#if defined(__x86_64__) && defined(__GLIBC__)
__attribute__((target_clones("avx512f", "avx2", "default"))) // narrow registers would make the cores the limit
#endif
std::uint64_t
sumOf(const Line* from, std::size_t steps, std::size_t step, std::size_t next) {
  Line totals[kSums] = {};
  for (std::size_t i = 0; i < steps; ++i)
    for (std::size_t s = 0; s < kSums; ++s)
      totals[s] += from[i * step + s * next];
  std::uint64_t sum = 0;
  for (const Line& total : totals)
    for (std::size_t lane = 0; lane < sizeof(Line) / 8; ++lane)
      sum += total[lane];
  return sum;
}

} // namespace

/**
 * Memory bandwidth probe of the benchmarks: for every line on standard input reads a gigabyte with all threads, some
 * passes in a row, and prints the best GB/s of one stream a thread (a loop that reads from front to back) and of four
 * (a line of each in turn), to which memory gives a quarter to a half more. Beside every burst of calls, because the
 * bandwidth of a shared machine drifts.
 */
int main(int argc, char** argv) {
  using namespace scenebus::cpu;
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  constexpr int kPieces = 64, kPasses = 3;
  const int threads = argc > 1 ? std::atoi(argv[1]) : physicalCoreCount();
  ThreadPool pool(threads > 0 ? threads : 1);
  AlignedBuffer<std::uint64_t> memory(kBytes / 8);
  std::uint64_t checksum = 0;
  for (int request = std::getchar(); request != EOF; request = std::getchar()) {
    if (request != '\n')
      continue;
    double best[2] = {0, 0};
    for (int pass = 0; pass < 2 * kPasses; ++pass) {
      const bool isApart = pass % 2 == 1;
      std::uint64_t sums[kPieces] = {};
      const auto start = std::chrono::steady_clock::now();
      pool.forEach(kPieces, [&](int piece, int) {
        constexpr std::size_t kSteps = kBytes / sizeof(Line) / kPieces / kSums;
        const auto* lines = reinterpret_cast<const Line*>(memory.data()) + kSteps * kSums * piece;
        sums[piece] = isApart ? sumOf(lines, kSteps, 1, kSteps) : sumOf(lines, kSteps, kSums, 1);
      });
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      for (const auto sum : sums)
        checksum += sum;
      const double rate = static_cast<double>(kBytes) / seconds.count() * 1e-9;
      best[isApart] = std::max(best[isApart], rate);
    }
    std::printf("%.2f %.2f\n", best[0], best[1]);
    std::fflush(stdout);
  }
  return checksum == 0 ? 0 : 1;
}
