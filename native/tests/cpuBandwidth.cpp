#include "cpu/alignedBuffer.h"
#include "cpu/cpuFeatures.h"
#include "cpu/threadPool.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

using Line = std::uint64_t __attribute__((vector_size(64)));
constexpr int kStreams = 4;

/** Sum of the numbers in `kStreams · lines` lines; in the widest registers, for narrow ones make the cores the limit. */
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
std::uint64_t sumOf(const Line* from, std::size_t lines) {
  Line totals[kStreams] = {};
  for (std::size_t i = 0; i < lines; ++i)
    for (int stream = 0; stream < kStreams; ++stream)
      totals[stream] += from[stream * lines + i];
  std::uint64_t sum = 0;
  for (const Line& total : totals)
    for (std::size_t lane = 0; lane < sizeof(Line) / 8; ++lane)
      sum += total[lane];
  return sum;
}

} // namespace

/**
 * Memory bandwidth probe of the benchmarks: for every line on standard input reads a gigabyte with all threads, some
 * passes in a row, and prints the best GB/s. Beside every round, because the bandwidth of a shared machine drifts.
 * Each thread reads four streams, a line of each in turn: memory gives a quarter more to them than to one.
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
    double best = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      std::uint64_t sums[kPieces] = {};
      const auto start = std::chrono::steady_clock::now();
      pool.forEach(kPieces, [&](int piece, int) {
        constexpr std::size_t kLines = kBytes / sizeof(Line) / kPieces / kStreams;
        sums[piece] = sumOf(reinterpret_cast<const Line*>(memory.data()) + kLines * kStreams * piece, kLines);
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
