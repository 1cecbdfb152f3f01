#include "gpu/kernels/attention/attentionDevice.h"

/**
 * Many rows: a block has 64 query vectors of one key/value head, a warp 16 of them; keys and values pass through shared
 * memory, 64 at a time, two stages in turn. Pieces of 16 bytes are exchanged within a row such that the eight lanes of a
 * phase touch all banks: keys are read by rows g and pieces t, values by every second row and pieces g.
 */
namespace scenebus::kernels {
namespace {

__device__ __forceinline__ int keyPlace(int row, int piece) { return piece ^ ((row & 1) << 2); }
__device__ __forceinline__ int valuePlace(int row, int piece) { return piece ^ ((row >> 1 & 3) << 1); }

template <int kDim, bool kSelf> __device__ __forceinline__ void attentionPrefill(const AttentionArguments& a) {
  constexpr int pieces = kDim / 8;
  constexpr int stageBytes = kStageKeys * kDim * 2;
  SCENEBUS_SHARED(sharedMemory);
  auto* queries = reinterpret_cast<std::uint16_t*>(sharedMemory); // [64][kDim]
  unsigned char* const keyStage = sharedMemory + kBlockQueries * kDim * 2;
  unsigned char* const valueStage = keyStage + 2 * stageBytes;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int kvHead = static_cast<int>(blockIdx.y);
  const int group = a.heads / a.kvHeads, vectors = a.rows * group;
  // Late rows see most keys: they go first, so that the grid does not end with its longest blocks.
  const int block = kSelf ? static_cast<int>(gridDim.x - 1 - blockIdx.x) : static_cast<int>(blockIdx.x);
  const int firstVector = block * kBlockQueries, firstOfWarp = firstVector + warp * kTileQueries;

  const int past = kSelf ? pastOf(a) : 0;
  const auto seenBy = [&](int vector) { // keys that this vector and those before it see
    int row = vector / group;
    row = row < a.rows ? row : a.rows - 1;
    const int seen = kSelf ? past + row + 1 : a.capacity;
    return seen < a.capacity ? seen : a.capacity;
  };
  const int end = seenBy(firstVector + kBlockQueries - 1), endOfWarp = seenBy(firstOfWarp + kTileQueries - 1);

  const std::uint16_t* keys = a.keys + static_cast<std::size_t>(kvHead) * a.capacity * kDim;
  const std::uint16_t* values = a.values + static_cast<std::size_t>(kvHead) * a.capacity * kDim;
  const auto copyStage = [&](int stage) {
    const int first = stage * kStageKeys;
    unsigned char* const toKeys = keyStage + (stage & 1) * stageBytes;
    unsigned char* const toValues = valueStage + (stage & 1) * stageBytes;
    for (int i = thread; i < kStageKeys * pieces; i += kAttentionThreads) {
      const int row = i / pieces, piece = i % pieces;
      const bool there = first + row < end;
      const std::size_t from = there ? static_cast<std::size_t>(first + row) * kDim + 8 * piece : 0;
      copyAsync16(toKeys + (row * pieces + keyPlace(row, piece)) * 16, keys + from, there);
      copyAsync16(toValues + (row * pieces + valuePlace(row, piece)) * 16, values + from, there);
    }
    commitCopies();
  };

  const int stages = (end + kStageKeys - 1) / kStageKeys;
  copyStage(0);
  stageQueries<kDim>(a, kvHead, firstVector, kBlockQueries, past, queries);
  __syncthreads();
  const Query<kDim> q = readQuery<kDim>(queries + warp * kTileQueries * kDim, g, t);
  const int rows[2] = {(firstOfWarp + g) / group, (firstOfWarp + g + 8) / group};

  Attended<kDim> state;
  clear(state);
  for (int stage = 0; stage < stages; ++stage) {
    if (stage + 1 < stages)
      copyStage(stage + 1);
    else
      commitCopies(); // an empty group keeps the count
    waitForCopies<1>();
    __syncthreads(); // the stage has arrived for all threads
    const unsigned char* const ownKeys = keyStage + (stage & 1) * stageBytes;
    const unsigned char* const ownValues = valueStage + (stage & 1) * stageBytes;
#pragma unroll 1
    for (int part = 0; part < kStageKeys; part += 16) {
      const int first = stage * kStageKeys + part;
      if (first >= endOfWarp) // nothing for this warp; the same for all lanes
        break;
      float bias[2][4];
      if (!kSelf) {
        bool hidden = true;
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int key = first + i / 2 * 8 + 2 * t + i % 2;
            bias[half][i] = rows[half] < a.rows && key < end
                                ? a.bias[static_cast<std::size_t>(rows[half]) * a.capacity + key]
                                : -infinity();
            hidden = hidden && !(bias[half][i] > kMaskedBias);
          }
        if (allLanes(hidden))
          continue;
      }
      KeyValues<kDim> kv;
      load<kDim>(
          kv, g, t,
          [&](int i, int piece) { return load16(ownKeys + ((part + i) * pieces + keyPlace(part + i, piece)) * 16); },
          [&](int i, int piece) { return load16(ownValues + ((part + i) * pieces + valuePlace(part + i, piece)) * 16); });
      attend<kDim>(state, q, kv, t, [&](float raw, int half, int slot, int i) {
        if (kSelf)
          return first + i < end && first + i <= past + rows[half] ? raw * a.scale : -infinity();
        const float added = bias[half][slot];
        return added > kMaskedBias ? raw * a.scale + added * 1.44269504f : -infinity();
      });
    }
    __syncthreads(); // before this stage is overwritten
  }
  waitForCopies<0>();
  finish(state);

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int vector = firstOfWarp + g + 8 * half;
    if (vector >= vectors)
      continue;
    const float factor = state.weight[half] > 0.0f ? 1.0f / state.weight[half] : 0.0f;
    std::uint16_t* to = a.attended + (static_cast<std::size_t>(rows[half]) * a.heads + kvHead * group + vector % group) * kDim;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j)
        to[dimensionOf(i, j, t)] = halfFromFloat(state.sum[i][2 * half + j] * factor);
  }
}

} // namespace

SCENEBUS_KERNEL(kvAttentionPrefill64, 128, 2, (const AttentionArguments a)) { attentionPrefill<64, true>(a); }
SCENEBUS_KERNEL(kvAttentionPrefill128, 128, 1, (const AttentionArguments a)) { attentionPrefill<128, true>(a); }
SCENEBUS_KERNEL(crossAttentionPrefill64, 128, 2, (const AttentionArguments a)) { attentionPrefill<64, false>(a); }
SCENEBUS_KERNEL(crossAttentionPrefill128, 128, 1, (const AttentionArguments a)) { attentionPrefill<128, false>(a); }

/** New keys and values to the caches, before attention reads them; a warp for each row and head. */
SCENEBUS_KERNEL(kvAppend, 128, 1, (const AttentionArguments a)) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int index = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  const int row = index / a.kvHeads, position = pastOf(a) + row;
  if (row < a.rows && position < a.capacity)
    storeKeyValue(a, index % a.kvHeads, row, position, a.headDim, lane, 32);
}

/**
 * Any head size up to 256: a warp for each row and head, which owns every 32nd dimension. For models of unusual shape and
 * tests, not for speed.
 */
SCENEBUS_KERNEL(attentionPlain, 32, 1, (const AttentionArguments a)) {
  constexpr int most = 8;
  const int lane = static_cast<int>(threadIdx.x), row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int kvHead = head / (a.heads / a.kvHeads), half = a.headDim / 2;
  const bool self = a.pastLength != nullptr;
  const int past = self ? pastOf(a) : 0;
  int end = self ? past + row + 1 : a.capacity;
  end = end < a.capacity ? end : a.capacity;
  const int position = past + row < a.capacity ? past + row : a.capacity - 1;
  const std::uint16_t* q = a.q + (static_cast<std::size_t>(row) * a.heads + head) * a.headDim;
  float own[most], sum[most], weight = 0, greatest = -infinity();
#pragma unroll
  for (int i = 0; i < most; ++i) {
    const int d = lane + 32 * i;
    own[i] = sum[i] = 0;
    if (d < a.headDim) {
      own[i] = floatFromHalf(q[d]);
      if (self) {
        const std::size_t angle = static_cast<std::size_t>(position) * half + d % half;
        const float other = floatFromHalf(q[d < half ? d + half : d - half]);
        own[i] = own[i] * a.cosines[angle] + (d < half ? -other : other) * a.sines[angle];
        own[i] = floatFromHalf(halfFromFloat(own[i])); // as the fast paths round it
      }
    }
  }
  for (int key = 0; key < end; ++key) {
    const float bias = self ? 0.0f : a.bias[static_cast<std::size_t>(row) * a.capacity + key];
    if (!(bias > kMaskedBias)) // the same for all lanes
      continue;
    const std::size_t at = (static_cast<std::size_t>(kvHead) * a.capacity + key) * a.headDim;
    float score = 0;
#pragma unroll
    for (int i = 0; i < most; ++i)
      if (lane + 32 * i < a.headDim)
        score += own[i] * floatFromHalf(a.keys[at + lane + 32 * i]);
    score = sumOfWarp(score) * a.scale + bias * 1.44269504f;
    const float reference = fmaxf(greatest, score);
    const float correction = exp2Fast(greatest - reference), p = exp2Fast(score - reference);
    greatest = reference;
    weight = weight * correction + p;
#pragma unroll
    for (int i = 0; i < most; ++i)
      if (lane + 32 * i < a.headDim)
        sum[i] = sum[i] * correction + p * floatFromHalf(a.values[at + lane + 32 * i]);
  }
#pragma unroll
  for (int i = 0; i < most; ++i)
    if (lane + 32 * i < a.headDim)
      a.attended[(static_cast<std::size_t>(row) * a.heads + head) * a.headDim + lane + 32 * i] =
          halfFromFloat(weight > 0.0f ? sum[i] / weight : 0.0f);
}

} // namespace scenebus::kernels
