#pragma once
#include "gpu/kernels/attention/attentionArguments.h"
#include "gpu/kernels/shared/elements.h"

/**
 * A warp's work on 16 query vectors and 16 keys at a time, by tensor cores, with the running softmax of flash attention.
 * Device code only.
 *
 * Query vectors are the heads of one key/value head over all rows: vector i is row i / group, head i % group. Lane 4g + t
 * has the vectors g and g + 8.
 *
 * Scores: the left operand is q, the right one keys. The dimension that the operands' k stands for is free: a lane takes 16
 * consecutive bytes (8 dimensions, 8t of each 32) of key g, two steps of the product. Weighted sums: the left operand is
 * the weights as the scores left them, the right one values, whose columns are free too: lane g takes dimensions 8g to
 * 8g + 7 of each 64 of keys 2t, 2t + 1, 2t + 8, 2t + 9, and the step for its e-th dimension gives the columns
 * 8 · column + e.
 */
namespace scenebus::kernels {

constexpr float kMaskedBias = -1e30f;

template <int kDim> struct Query {
  std::uint32_t left[kDim / 16][4];
};

/**
 * Rows before the new ones. It comes from memory that a caller wrote: whatever stands there, what is derived of it must
 * not lead outside of the caches and the tables of positions.
 */
__device__ __forceinline__ int pastOf(const AttentionArguments& a) {
  const int past = *a.pastLength;
  return past < 0 ? 0 : past < a.capacity ? past : a.capacity;
}

template <int kDim> struct Attended {
  float sum[kDim / 8][4];
  float greatest[2];
  float weight[2];
};

template <int kDim> __device__ __forceinline__ void clear(Attended<kDim>& state) {
#pragma unroll
  for (int i = 0; i < kDim / 8; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      state.sum[i][j] = 0.0f;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.greatest[half] = -infinity();
    state.weight[half] = 0.0f;
  }
}

/**
 * Takes a query vector of `count` ones from `first` on, rotated when there are positions, to shared memory `[count][kDim]`;
 * zeros beyond the last. All threads of the block take part; a barrier must follow.
 */
template <int kDim>
__device__ __forceinline__ void stageQueries(const AttentionArguments& a, int kvHead, int first, int count, int past,
                                             std::uint16_t* to) {
  const int group = a.heads / a.kvHeads, half = kDim / 2;
  for (int i = static_cast<int>(threadIdx.x); i < count * half; i += kAttentionThreads) {
    const int vector = i / half, d = i % half;
    const int row = (first + vector) / group, head = kvHead * group + (first + vector) % group;
    float low = 0, high = 0;
    if (row < a.rows) {
      const std::uint16_t* q = a.q + (static_cast<std::size_t>(row) * a.heads + head) * kDim;
      low = floatFromHalf(q[d]);
      high = floatFromHalf(q[d + half]);
      if (a.cosines != nullptr) {
        const int position = past + row < a.capacity ? past + row : a.capacity - 1;
        const float cosine = a.cosines[static_cast<std::size_t>(position) * half + d];
        const float sine = a.sines[static_cast<std::size_t>(position) * half + d];
        const float rotated = low * cosine - high * sine;
        high = high * cosine + low * sine;
        low = rotated;
      }
    }
    to[vector * kDim + d] = halfFromFloat(low);
    to[vector * kDim + d + half] = halfFromFloat(high);
  }
}

template <int kDim> __device__ __forceinline__ Query<kDim> readQuery(const std::uint16_t* staged, int g, int t) {
  Query<kDim> q;
#pragma unroll
  for (int c = 0; c < kDim / 32; ++c) {
    const U32x4 low = load16(staged + g * kDim + 32 * c + 8 * t);
    const U32x4 high = load16(staged + (g + 8) * kDim + 32 * c + 8 * t);
    q.left[2 * c][0] = low.x;
    q.left[2 * c][1] = high.x;
    q.left[2 * c][2] = low.y;
    q.left[2 * c][3] = high.y;
    q.left[2 * c + 1][0] = low.z;
    q.left[2 * c + 1][1] = high.z;
    q.left[2 * c + 1][2] = low.w;
    q.left[2 * c + 1][3] = high.w;
  }
  return q;
}

/** What a lane needs of 16 keys and their values. */
template <int kDim> struct KeyValues {
  U32x4 key[2][kDim / 32];
  U32x4 value[4][kDim / 64];
};

/**
 * `loadKey(i, piece)` and `loadValue(i, piece)` give 8 dimensions of the i-th of the 16 keys. Loads only, so that all are
 * under way at once.
 */
template <int kDim, typename LoadKey, typename LoadValue>
__device__ __forceinline__ void load(KeyValues<kDim>& kv, int g, int t, LoadKey loadKey, LoadValue loadValue) {
#pragma unroll
  for (int tile = 0; tile < 2; ++tile)
#pragma unroll
    for (int c = 0; c < kDim / 32; ++c)
      kv.key[tile][c] = loadKey(8 * tile + g, 4 * c + t);
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int c = 0; c < kDim / 64; ++c)
      kv.value[i][c] = loadValue(2 * t + (i & 1) + (i >> 1) * 8, 8 * c + g);
}

/**
 * `scoreOf(raw, half, slot, i)` scales and masks the score of vector g + 8 · half and the i-th of the 16 keys, the
 * slot-th (0 to 3) of the four that the lane has; −∞ is not seen.
 */
template <int kDim, typename ScoreOf>
__device__ __forceinline__ void attend(Attended<kDim>& state, const Query<kDim>& q, const KeyValues<kDim>& kv, int t,
                                       ScoreOf scoreOf) {
  float score[2][4] = {};
#pragma unroll
  for (int tile = 0; tile < 2; ++tile)
#pragma unroll
    for (int c = 0; c < kDim / 32; ++c) {
      const U32x4& key = kv.key[tile][c];
      const std::uint32_t right0[2] = {key.x, key.y}, right1[2] = {key.z, key.w};
      multiplyTile(score[tile], q.left[2 * c], right0);
      multiplyTile(score[tile], q.left[2 * c + 1], right1);
    }
  std::uint32_t weights[4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float s[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      s[i] = scoreOf(score[i / 2][2 * half + i % 2], half, i, i / 2 * 8 + 2 * t + i % 2);
    float greatest = fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3]));
    greatest = fmaxf(greatest, shuffleXor(greatest, 1));
    greatest = fmaxf(greatest, shuffleXor(greatest, 2));
    greatest = fmaxf(greatest, state.greatest[half]);
    // Nothing seen so far: any finite reference gives weights of 0.
    const float reference = greatest == -infinity() ? 0.0f : greatest;
    const float correction = exp2Fast(state.greatest[half] - reference);
    state.greatest[half] = greatest;
    float p[4], sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      p[i] = exp2Fast(s[i] - reference);
      sum += p[i];
    }
    state.weight[half] = state.weight[half] * correction + sum;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      state.sum[i][2 * half] *= correction;
      state.sum[i][2 * half + 1] *= correction;
    }
    weights[half] = packHalves(p[0], p[1]);
    weights[half + 2] = packHalves(p[2], p[3]);
  }
#pragma unroll
  for (int c = 0; c < kDim / 64; ++c) {
    const auto wordOf = [&](int i, int word) {
      const U32x4& value = kv.value[i][c];
      return word == 0 ? value.x : word == 1 ? value.y : word == 2 ? value.z : value.w;
    };
#pragma unroll
    for (int word = 0; word < 4; ++word)
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const std::uint32_t selector = odd == 0 ? 0x5410u : 0x7632u;
        const std::uint32_t right[2] = {selectBytes(wordOf(0, word), wordOf(1, word), selector),
                                        selectBytes(wordOf(2, word), wordOf(3, word), selector)};
        multiplyTile(state.sum[8 * c + 2 * word + odd], weights, right);
      }
  }
}

/** The dimension that `sum[i][j]` of a lane belongs to; its vector is g for j < 2, else g + 8. */
__device__ __forceinline__ int dimensionOf(int i, int j, int t) { return i / 8 * 64 + 8 * (2 * t + j % 2) + i % 8; }

/** The weights of a quad are parts of one sum. */
template <int kDim> __device__ __forceinline__ void finish(Attended<kDim>& state) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.weight[half] += shuffleXor(state.weight[half], 1);
    state.weight[half] += shuffleXor(state.weight[half], 2);
  }
}

/** Stores a new key, rotated, and its value in the caches; `thread` of `threads` take part. */
__device__ __forceinline__ void storeKeyValue(const AttentionArguments& a, int kvHead, int row, int position, int dim,
                                              int thread, int threads) {
  const int half = dim / 2;
  const std::size_t from = (static_cast<std::size_t>(row) * a.kvHeads + kvHead) * dim;
  const std::size_t to = (static_cast<std::size_t>(kvHead) * a.capacity + position) * dim;
  for (int d = thread; d < half; d += threads) {
    const float low = floatFromHalf(a.k[from + d]), high = floatFromHalf(a.k[from + d + half]);
    const float cosine = a.cosines[static_cast<std::size_t>(position) * half + d];
    const float sine = a.sines[static_cast<std::size_t>(position) * half + d];
    a.keys[to + d] = halfFromFloat(low * cosine - high * sine);
    a.keys[to + d + half] = halfFromFloat(high * cosine + low * sine);
    a.values[to + d] = a.v[from + d];
    a.values[to + d + half] = a.v[from + d + half];
  }
}

} // namespace scenebus::kernels
