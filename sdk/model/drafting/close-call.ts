import type { EngineInfo } from '../../engine/engine.js';

/**
 * How near to each other two logits may be before a row that was computed together with other rows is computed
 * again by itself, as plain decoding does. The kernels of ONNX Runtime differ in the last bits between one row and
 * several: on the demo model by up to 8e-5 with float weights, and by up to 0.07 with int4 weights, where such a
 * bit moves an activation to the next int8 step. Twice that decides a choice; the margins are several times
 * wider. The cpu backend sums every row in the same order whatever its neighbours: nothing to compute again.
 *
 * What remains: keys and values of drafted tokens carry those last bits too. They move later logits by less than the
 * margin, but unlike a close choice they stay.
 */
export function closeCallMargin(info: Pick<EngineInfo, 'backend' | 'weights'>): number {
  if (info.backend === 'cpu') return 0;
  return info.weights === 'float' ? 2e-3 : 0.5;
}

/** Whether the two highest of the logits lie within `margin`. */
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
