import type { EngineInfo } from '../../engine/engine.js';

/**
 * How near to each other two logits may be before a row that was computed together with other rows is computed
 * again by itself, as plain decoding does; undefined where the two ways differ too much for drafts.
 *
 * - cpu: sums every row in the same order whatever its neighbours. Equal bits, nothing to compute again.
 * - onnx, float weights: ONNX Runtime has other kernels for one row than for several; logits of the demo model differ by
 *   up to 8e-5, and twice that decides a choice. The margin is ten times wider. Keys and values of drafted tokens
 *   carry the last bits too, and keep them; they are part of the 8e-5.
 * - onnx, int4 weights: activations are rounded to int8, and a last bit moves some of them by a whole step: up to 0.07 in
 *   the demo model's logits. Of 500 answers of a model with random weights 2 came out different, margin or not.
 * - tensorrt: products in float16, and plans for one row differ from those for several. On a processor the same graphs
 *   differ by less than 2e-2 between one row and many; the margin is more than twice that. Not measured on a device.
 */
export function closeCallMargin(info: Pick<EngineInfo, 'backend' | 'weights'>): number | undefined {
  if (info.backend === 'cpu') return 0;
  if (info.backend === 'tensorrt') return 5e-2;
  return info.backend === 'onnx' && info.weights === 'float' ? 2e-3 : undefined;
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
