import { SdkError } from '../core/errors.js';

/** Entries of the table for a halving, and what `exp` needs at most: less is nothing beside the largest, which counts 1. */
const PER_HALVING = 32;
const LEAST = -80;
const STEP = Math.LN2 / PER_HALVING;
const STEPS_OF_ONE = 1 / STEP;
/** `[n]`: exp(-n STEP). */
const POWERS = Float64Array.from({ length: Math.ceil(-LEAST / STEP) + 2 }, (_, n) => 2 ** (-n / PER_HALVING));

/**
 * Natural logarithm of the sum of exponentials.
 *
 * Called for every token over the whole vocabulary, 128 256 logits. `Math.exp` is a call out of compiled code; here
 * the same comes to 1e-12 from a table and, for the rest of x = r - n STEP, the first terms of Taylor's series.
 * @throws SdkError ERR_ENGINE_FAILED for logits that are no numbers
 */
export function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > max) max = logits[i]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i]! - max;
    if (x < LEAST) continue;
    const n = (0.5 - x * STEPS_OF_ONE) | 0;
    const r = x + n * STEP;
    sum += POWERS[n]! * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24)))));
  }
  const result = max + Math.log(sum);
  if (Number.isFinite(result)) return result;
  throw new SdkError(
    'ERR_ENGINE_FAILED',
    'Expected finite logits from the engine but received NaN or infinity. The weights may be damaged; try numerics or another backend, or copy the checkpoint again.',
  );
}
