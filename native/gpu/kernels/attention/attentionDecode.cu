#include "gpu/kernels/attention/attentionDevice.h"

/**
 * Few rows: memory is the limit, so the keys are split over the grid and over the four warps of a block, and everything
 * goes from memory to registers, 8 KB a warp at a time (headDim 128). All query heads of a key/value head, of all rows,
 * share what is read. A second kernel adds the splits.
 */
namespace scenebus::kernels {
namespace {

template <int kDim, bool kSelf> __device__ __forceinline__ void attentionDecode(const AttentionArguments& a) {
  SCENEBUS_SHARED(sharedMemory);
  auto* queries = reinterpret_cast<std::uint16_t*>(sharedMemory); // [16][kDim]
  auto* sums = reinterpret_cast<float*>(queries + kTileQueries * kDim); // [4 warps][16][kDim]
  auto* weights = sums + 4 * kTileQueries * kDim;                       // [4 warps][16][2]
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int kvHead = static_cast<int>(blockIdx.y), split = static_cast<int>(blockIdx.z);
  const int group = a.heads / a.kvHeads, vectors = a.rows * group;
  const int firstVector = static_cast<int>(blockIdx.x) * kTileQueries;

  const int past = kSelf ? pastOf(a) : 0;
  int total = kSelf ? past + a.rows : a.capacity;
  total = total < a.capacity ? total : a.capacity;
  const int tiles = (total + 15) / 16, tilesOfSplit = (tiles + a.splits - 1) / a.splits;
  const int begin = split * tilesOfSplit * 16;
  const int end = begin + tilesOfSplit * 16 < total ? begin + tilesOfSplit * 16 : total;

  stageQueries<kDim>(a, kvHead, firstVector, kTileQueries, past, queries);
  // The new keys of this split. Blocks of other query tiles write the same bits to the same place.
  if (kSelf)
    for (int position = begin > past ? begin : past; position < end; ++position)
      storeKeyValue(a, kvHead, position - past, position, kDim, thread, kAttentionThreads);
  __syncthreads();

  const Query<kDim> q = readQuery<kDim>(queries, g, t);
  const int rows[2] = {(firstVector + g) / group, (firstVector + g + 8) / group};
  const std::uint16_t* keys = a.keys + static_cast<std::size_t>(kvHead) * a.capacity * kDim;
  const std::uint16_t* values = a.values + static_cast<std::size_t>(kvHead) * a.capacity * kDim;

  // Bias of the lane's 2 vectors × 4 keys, a step ahead of what it decides: whether keys are read at all.
  float bias[2][4];
  const auto loadBias = [&](int first) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = first + i / 2 * 8 + 2 * t + i % 2;
        bias[half][i] = rows[half] < a.rows && key < end
                            ? a.bias[static_cast<std::size_t>(rows[half]) * a.capacity + key]
                            : -infinity();
      }
  };

  Attended<kDim> state;
  clear(state);
  int first = begin + warp * 16;
  if (!kSelf && first < end)
    loadBias(first);
  for (; first < end; first += 64) {
    float ownBias[2][4];
    if (!kSelf) {
      bool hidden = true;
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          ownBias[half][i] = bias[half][i];
          hidden = hidden && !(bias[half][i] > kMaskedBias);
        }
      if (first + 64 < end)
        loadBias(first + 64);
      if (allLanes(hidden))
        continue;
    }
    // Places beyond the end repeat the last key; their scores are masked.
    const int last = end - 1 - first;
    KeyValues<kDim> kv;
    load<kDim>(
        kv, g, t,
        [&](int i, int piece) { return load16(keys + static_cast<std::size_t>(first + (i < last ? i : last)) * kDim + 8 * piece); },
        [&](int i, int piece) { return load16(values + static_cast<std::size_t>(first + (i < last ? i : last)) * kDim + 8 * piece); });
    attend<kDim>(state, q, kv, t, [&](float raw, int half, int slot, int i) {
      if (kSelf)
        return first + i < end && first + i <= past + rows[half] ? raw * a.scale : -infinity();
      const float added = ownBias[half][slot];
      return added > kMaskedBias ? raw * a.scale + added * 1.44269504f : -infinity();
    });
  }
  finish(state);

  // The four warps' shares.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int vector = warp * kTileQueries + g + 8 * half;
    if (t == 0) {
      weights[2 * vector] = state.greatest[half];
      weights[2 * vector + 1] = state.weight[half];
    }
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j)
        sums[vector * kDim + dimensionOf(i, j, t)] = state.sum[i][2 * half + j];
  }
  __syncthreads();
  for (int i = thread; i < kTileQueries * kDim; i += kAttentionThreads) {
    const int vector = i / kDim, d = i % kDim;
    if (firstVector + vector >= vectors)
      continue;
    float greatest = -infinity();
    for (int w = 0; w < 4; ++w)
      greatest = fmaxf(greatest, weights[2 * (w * kTileQueries + vector)]);
    const float reference = greatest == -infinity() ? 0.0f : greatest;
    float sum = 0, weight = 0;
    for (int w = 0; w < 4; ++w) {
      const float correction = exp2Fast(weights[2 * (w * kTileQueries + vector)] - reference);
      sum += correction * sums[(w * kTileQueries + vector) * kDim + d];
      weight += correction * weights[2 * (w * kTileQueries + vector) + 1];
    }
    const int row = (firstVector + vector) / group, head = kvHead * group + (firstVector + vector) % group;
    if (a.splits == 1) {
      a.attended[(static_cast<std::size_t>(row) * a.heads + head) * kDim + d] =
          halfFromFloat(weight > 0.0f ? sum / weight : 0.0f);
      continue;
    }
    const std::size_t at = (static_cast<std::size_t>(split) * a.kvHeads + kvHead) * vectors + firstVector + vector;
    a.partial[at * kDim + d] = sum;
    if (d == 0) {
      float* pair = a.partial + static_cast<std::size_t>(a.splits) * a.kvHeads * vectors * kDim + 2 * at;
      pair[0] = greatest;
      pair[1] = weight;
    }
  }
}

} // namespace

SCENEBUS_KERNEL(kvAttentionDecode64, 128, 2, (const AttentionArguments a)) { attentionDecode<64, true>(a); }
SCENEBUS_KERNEL(kvAttentionDecode128, 128, 2, (const AttentionArguments a)) { attentionDecode<128, true>(a); }
SCENEBUS_KERNEL(crossAttentionDecode64, 128, 2, (const AttentionArguments a)) { attentionDecode<64, false>(a); }
SCENEBUS_KERNEL(crossAttentionDecode128, 128, 2, (const AttentionArguments a)) { attentionDecode<128, false>(a); }

/** A block for each row and head: adds the splits. */
SCENEBUS_KERNEL(attentionCombine, 128, 1, (const AttentionArguments a)) {
  const int group = a.heads / a.kvHeads, vectors = a.rows * group;
  const int row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int vector = row * group + head % group;
  const std::size_t strideOfSplit = static_cast<std::size_t>(a.kvHeads) * vectors;
  const std::size_t first = static_cast<std::size_t>(head / group) * vectors + vector;
  const float* pairs = a.partial + a.splits * strideOfSplit * a.headDim;
  float greatest = -infinity();
  for (int split = 0; split < a.splits; ++split)
    greatest = fmaxf(greatest, pairs[2 * (split * strideOfSplit + first)]);
  const float reference = greatest == -infinity() ? 0.0f : greatest;
  for (int d = static_cast<int>(threadIdx.x); d < a.headDim; d += static_cast<int>(blockDim.x)) {
    float sum = 0, weight = 0;
    for (int split = 0; split < a.splits; ++split) {
      const std::size_t at = split * strideOfSplit + first;
      const float correction = exp2Fast(pairs[2 * at] - reference);
      sum += correction * a.partial[at * a.headDim + d];
      weight += correction * pairs[2 * at + 1];
    }
    a.attended[(static_cast<std::size_t>(row) * a.heads + head) * a.headDim + d] =
        halfFromFloat(weight > 0.0f ? sum / weight : 0.0f);
  }
}

} // namespace scenebus::kernels
