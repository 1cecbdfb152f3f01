#include "gpu/kernels/shared/elements.h"

/** A block of 1024 threads for each row: the logits of a row (half a megabyte) stay in the second cache between passes. */
namespace scenebus::kernels {
namespace {

constexpr int kWarps = 32;
constexpr int kThreads = 32 * kWarps;

/** Bits that are ordered as the floats are; NaN lowest. */
__device__ __forceinline__ std::uint32_t orderOf(float value) {
  const std::uint32_t bits = bitsOfFloat(value);
  if (value != value)
    return 0;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

struct Best {
  std::uint32_t order;
  int token;
};

__device__ __forceinline__ Best better(Best a, Best b) {
  return b.order > a.order || (b.order == a.order && b.token < a.token) ? b : a;
}

/** The same answer for all threads; `shared` holds 32 of them. Begins and ends with a barrier. */
__device__ __forceinline__ Best bestOfRow(const float* logits, int vocabulary, Best* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  Best best{0, 0x7fffffff};
  for (int i = thread; i < vocabulary; i += kThreads)
    best = better(best, {orderOf(logits[i]), i});
  for (int mask = 16; mask > 0; mask /= 2) {
    const auto order = static_cast<std::uint32_t>(shuffleXor(static_cast<int>(best.order), mask));
    best = better(best, {order, shuffleXor(best.token, mask)});
  }
  __syncthreads();
  if (thread % 32 == 0)
    shared[thread / 32] = best;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp)
    best = better(best, shared[warp]);
  __syncthreads();
  return best;
}

/** exp(logit / temperature − greatest) as an integer, 2⁴⁰ for the greatest. */
__device__ __forceinline__ unsigned long long massOf(float logit, float greatest, float factor) {
  const float p = exp2Fast((logit - greatest) * factor);
  return p > 0.0f ? static_cast<unsigned long long>(p * 1099511627776.0f) : 0ull;
}

} // namespace

SCENEBUS_KERNEL(argmaxRows, 1024, 1, (const float* logits, int vocabulary, int* tokens)) {
  SCENEBUS_SHARED(sharedMemory);
  const Best best = bestOfRow(logits + static_cast<std::size_t>(blockIdx.x) * vocabulary, vocabulary,
                              reinterpret_cast<Best*>(sharedMemory));
  if (threadIdx.x == 0)
    tokens[blockIdx.x] = best.token;
}

SCENEBUS_KERNEL(topPRows, 1024, 1,
                (const float* allLogits, int vocabulary, float factor, float topP, const float* random, int* tokens)) {
  SCENEBUS_SHARED(sharedMemory);
  auto* buckets = reinterpret_cast<unsigned long long*>(sharedMemory); // [256]
  auto* ofWarp = buckets + 256;                                         // [32]
  auto* state = ofWarp + kWarps;                                        // [4]: prefix, limit, drawn, found
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const float* logits = allLogits + static_cast<std::size_t>(blockIdx.x) * vocabulary;
  const Best best = bestOfRow(logits, vocabulary, reinterpret_cast<Best*>(sharedMemory));
  const float greatest = logits[best.token];

  // The mass of all.
  unsigned long long own = 0;
  for (int i = thread; i < vocabulary; i += kThreads)
    own += massOf(logits[i], greatest, factor);
  for (int mask = 16; mask > 0; mask /= 2)
    own += shuffleXor(own, mask);
  if (lane == 0)
    ofWarp[warp] = own;
  __syncthreads();
  unsigned long long total = 0;
  for (int i = 0; i < kWarps; ++i)
    total += ofWarp[i];
  if (total == 0) { // only NaN or infinity: nothing to draw from
    if (thread == 0)
      tokens[blockIdx.x] = best.token;
    return;
  }

  // The order of the last logit that is kept, eight bits at a time: the bucket in which the mass above passes the limit.
  const auto limit = static_cast<unsigned long long>(static_cast<double>(total) * static_cast<double>(topP));
  std::uint32_t prefix = 0;
  unsigned long long above = 0; // mass of all logits above the bucket chosen so far
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    if (thread < 256)
      buckets[thread] = 0;
    __syncthreads();
    for (int i = thread; i < vocabulary; i += kThreads) {
      const std::uint32_t order = orderOf(logits[i]);
      if (shift == 24 || order >> (shift + 8) == prefix >> (shift + 8))
        addShared(&buckets[order >> shift & 255u], massOf(logits[i], greatest, factor));
    }
    __syncthreads();
    if (thread == 0) {
      unsigned long long sum = above;
      int bucket = 255, last = -1;
      unsigned long long beforeLast = above;
      for (; bucket >= 0; --bucket) {
        if (buckets[bucket] > 0) {
          if (sum > limit)
            break;
          last = bucket;
          beforeLast = sum;
        }
        sum += buckets[bucket];
      }
      state[0] = static_cast<unsigned long long>(last);
      state[1] = beforeLast;
    }
    __syncthreads();
    prefix |= static_cast<std::uint32_t>(state[0]) << shift;
    above = state[1];
  }

  // Draw among the kept ones. Each warp has a run of consecutive tokens.
  const int run = (vocabulary + kThreads - 1) / kThreads * 32;
  const int begin = warp * run < vocabulary ? warp * run : vocabulary;
  const int end = begin + run < vocabulary ? begin + run : vocabulary;
  const auto keptMass = [&](int i) -> unsigned long long {
    return i < end && orderOf(logits[i]) >= prefix ? massOf(logits[i], greatest, factor) : 0ull;
  };
  own = 0;
  for (int i = begin + lane; i < end; i += 32)
    own += keptMass(i);
  for (int mask = 16; mask > 0; mask /= 2)
    own += shuffleXor(own, mask);
  __syncthreads(); // all have read state and ofWarp
  if (lane == 0)
    ofWarp[warp] = own;
  __syncthreads();
  unsigned long long kept = 0, before = 0;
  for (int i = 0; i < kWarps; ++i) {
    before += i < warp ? ofWarp[i] : 0ull;
    kept += ofWarp[i];
  }
  auto drawn = static_cast<unsigned long long>(static_cast<double>(kept) * static_cast<double>(random[blockIdx.x]));
  drawn = drawn < kept ? drawn : kept - 1;
  if (drawn < before || drawn >= before + own) // the same for the whole warp; exactly one goes on
    return;
  for (int i = begin; i < end; i += 32) {
    const unsigned long long mass = keptMass(i + lane);
    unsigned long long upTo = mass;
    for (int by = 1; by < 32; by *= 2) {
      const unsigned long long lower = shuffleUp(upTo, by);
      upTo += lane >= by ? lower : 0ull;
    }
    const std::uint32_t past = ballot(before + upTo > drawn);
    if (past != 0) {
      if (lane == 0) {
        int first = 0;
        while ((past >> first & 1u) == 0)
          ++first;
        tokens[blockIdx.x] = i + first;
      }
      return;
    }
    before += shuffle(upTo, 31);
  }
}

} // namespace scenebus::kernels
