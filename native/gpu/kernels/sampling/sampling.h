#pragma once
#include "gpu/kernels/shared/types.h"

/** Tokens from logits, f32 `[rows, vocabulary]`, one for each row, without a copy of the logits to the host. */
namespace scenebus::kernels {

/** tokens i32 `[rows]`: the first of the greatest logits; NaN counts as least. */
void argmax(cuda::Device&, cuda::Stream, cuda::DevicePointer logits, int rows, int vocabulary,
            cuda::DevicePointer tokens);

/**
 * Draws from the smallest set of most likely tokens: a token is kept while the mass before it is at most `topP`, in the
 * order of falling probability (of softmax(logits / temperature)); tokens as likely as the last one kept are kept too.
 * `random` f32 `[rows]` in [0, 1) decides, running through the kept tokens in the order of their numbers. Masses are
 * integers of 2⁻⁴⁰, so the result does not depend on the order of sums; a token below that mass is never drawn.
 */
void topP(cuda::Device&, cuda::Stream, cuda::DevicePointer logits, int rows, int vocabulary, float temperature,
          float topP, cuda::DevicePointer random, cuda::DevicePointer tokens);

} // namespace scenebus::kernels
