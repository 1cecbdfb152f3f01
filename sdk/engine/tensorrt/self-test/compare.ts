/** Holds what came out of a device beside what was recorded. Pure. */

import { type Sample, WIDE_VISION } from './scenario.js';
import { SELF_TEST_ARCHITECTURE } from './synthetic-model.js';

/** A sample and how far it is from the recorded one. */
export interface SampleCheck {
  readonly name: string;
  /** ‖found − expected‖ / ‖expected‖; Infinity when a value is missing or no number. */
  readonly error: number;
  readonly tolerance: number;
  /** The values that differ most. */
  readonly found: number;
  readonly expected: number;
}

/**
 * Relative error that rounding explains. Recorded values are those of float32 activations. Measured with the same
 * graphs and types on a processor: at most 0.0004 in the decoder (float16). The vision tower runs in bfloat16,
 * whose steps are eight times as large. One head or one group of weights taken for another gives 0.1 and more.
 */
export const TOLERANCE = { vision: 0.03, text: 0.015 } as const;

export function compareSamples(found: readonly Sample[], recorded: readonly Sample[]): SampleCheck[] {
  const byName = new Map(found.map((sample) => [sample.name, sample.values]));
  const checks: SampleCheck[] = [];
  for (const { name, values } of recorded) {
    const ours = byName.get(name);
    // A run without intermediate tensors has none to compare; logits and features of the large picture it always has.
    const isResult = name.endsWith('logits') || name === `${WIDE_VISION}: cross_attention_states`;
    if (ours === undefined && !isResult) continue;
    const isVision = name.startsWith('encode') || name.startsWith(WIDE_VISION);
    const tolerance = isVision ? TOLERANCE.vision : TOLERANCE.text;
    checks.push({ name, tolerance, ...difference(ours ?? new Float32Array(0), values) });
  }
  return checks;
}

export function firstFailure(checks: readonly SampleCheck[]): SampleCheck | undefined {
  return checks.find(({ error, tolerance }) => !(error <= tolerance));
}

function difference(found: Float32Array, expected: Float32Array) {
  let [sum, size, largest, at] = [0, 0, -1, 0];
  for (let i = 0; i < expected.length; i++) {
    const apart = Math.abs((found[i] ?? Number.NaN) - expected[i]!);
    sum += apart ** 2;
    size += expected[i]! ** 2;
    if (apart > largest || Number.isNaN(apart)) [largest, at] = [apart, i];
    if (Number.isNaN(apart)) break;
  }
  const error = Math.sqrt(sum / size);
  const isComparable = found.length === expected.length && !Number.isNaN(error);
  return {
    error: isComparable ? error : Number.POSITIVE_INFINITY,
    found: found[at] ?? Number.NaN,
    expected: expected[at]!,
  };
}

/** `layer 1 (cross-attention) of prefill: relative error 0.31, at most 0.015 (found 1.2, expected 0.8)` */
export function describeCheck({ name, error, tolerance, found, expected }: SampleCheck): string {
  const numbers = `found ${found.toPrecision(4)}, expected ${expected.toPrecision(4)}`;
  return `${describeSample(name)}: relative error ${error.toPrecision(3)}, at most ${tolerance} (${numbers})`;
}

/** A recorded tensor in words: `prefill: after_layer_3` is layer 3 of prefill. */
function describeSample(sample: string): string {
  const [call, tensor] = sample.split(': ') as [string, string];
  const [, stack, layer] = /after_(?:(local|global)_)?layer_(\d+)$/.exec(tensor) ?? [];
  if (layer === undefined) return `${tensor === 'logits' ? 'logits' : 'the vision features'} of ${call}`;
  if (stack !== undefined) return `${stack} vision layer ${layer}${call === WIDE_VISION ? ` of ${call}` : ''}`;
  const isCross = SELF_TEST_ARCHITECTURE.text.crossAttentionLayers.includes(Number(layer));
  return `layer ${layer} (${isCross ? 'cross-attention' : 'self-attention'}) of ${call}`;
}
