/** Whether the two highest of the logits lie within `margin` (see `EngineCapabilities.closeCallMargin`). */
export function isCloseCall(logits: Float32Array, margin: number): boolean {
  let first = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token]!;
    if (logit > first) {
      second = first;
      first = logit;
    } else if (logit > second) second = logit;
  }
  return first - second < margin;
}
