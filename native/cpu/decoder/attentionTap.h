#pragma once
#include "cpu/kernels/kernels.h"

#include <vector>

namespace scenebus::cpu {

/** Attention of chosen heads over the images, asked of one call and written while it computes. */
struct AttentionTaps {
  struct Head {
    /** Among all layers; a cross layer. */
    int layer = 0;
    /** A query head. */
    int head = 0;
  };
  std::vector<Head> heads;
  /** Of the call, from 0, rising. */
  std::vector<int> tokens;
  /** Positions of all images of the call together: the sum of their `visible`. */
  int positions = 0;
  /** `[heads][tokens][positions]`, zeros before the call: what a token does not see stays 0. */
  float* weights = nullptr;
};

/**
 * Scaled products of one query with the keys of a run: `scores[run.count]`. A plain loop apart from `attend`, which
 * never holds all scores of a query at once and has no business to: few calls ask for this.
 */
void scoreKeys(const float* query, const KeyValueRun& run, CacheType type, int headDim, float scale, float* scores);

/** `x[count]` to its softmax, in place. */
void softmax(float* x, int count);

} // namespace scenebus::cpu
