import { SdkError } from '../core/errors.js';

/**
 * Natural logarithm of the sum of exponentials.
 * @throws SdkError ERR_ENGINE_FAILED for logits that are no numbers
 */
export function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > max) max = logits[i]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - max);
  const result = max + Math.log(sum);
  if (Number.isFinite(result)) return result;
  throw new SdkError(
    'ERR_ENGINE_FAILED',
    'Expected finite logits from the engine but received NaN or infinity. The weights may be damaged; try numerics or another backend, or copy the checkpoint again.',
  );
}
