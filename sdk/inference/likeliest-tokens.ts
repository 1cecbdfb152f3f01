/** A token of the vocabulary and the natural logarithm of its probability. */
export interface LikelyToken {
  readonly id: number;
  readonly logProbability: number;
}

/**
 * The likeliest first; of equals the one with the lower id.
 * @param logits `[vocabularySize]`
 * @param normalizer their `logSumExp`
 */
export function likeliestTokens(logits: Float32Array, normalizer: number, count: number): LikelyToken[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (ids.length === count && !(logits[id]! > logits[ids.at(-1)!]!)) continue;
    let at = ids.length;
    while (at > 0 && logits[id]! > logits[ids[at - 1]!]!) at--;
    ids.splice(at, 0, id);
    if (ids.length > count) ids.pop();
  }
  return ids.map((id) => ({ id, logProbability: logits[id]! - normalizer }));
}
