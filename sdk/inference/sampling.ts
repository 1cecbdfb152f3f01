/** From a logits row to a token. */
import { SdkError } from '../core/errors.js';
import type { RandomSource } from '../core/random.js';

export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Keeps the likeliest tokens until their mass exceeds this; 1 keeps all. */
  readonly topP: number;
  /** Keeps so many of the likeliest tokens, and those as likely as the last of them; 0 (default) keeps all. */
  readonly topK?: number | undefined;
  /** Keeps tokens at least so likely, of the likeliest one's probability; 0 (default) keeps all. */
  readonly minP?: number | undefined;
}

/** The likeliest token, the first on a tie. NaN never wins. */
export function argmax(logits: Float32Array): number {
  let best = -1;
  let bestLogit = Number.NEGATIVE_INFINITY;
  for (let token = 0; token < logits.length; token++) {
    if (logits[token]! > bestLogit) {
      bestLogit = logits[token]!;
      best = token;
    }
  }
  if (best === -1) {
    throw new SdkError('ERR_ENGINE_FAILED', 'Expected at least one finite logit but all were NaN or -Infinity.');
  }
  return best;
}

/**
 * Softmax of logits / temperature; of these the `topK` likeliest; of these, in falling order, while the mass *before*
 * them is at most `topP` (so the first always is), and none below `minP`; the draw is from what is kept, renormalised.
 */
export function sampleToken(logits: Float32Array, options: SamplingOptions, random: RandomSource): number {
  const { temperature, topP, topK = 0, minP = 0 } = options;
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a temperature of 0 or more but received ${temperature}.`);
  }
  if (!(topP > 0 && topP <= 1)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected topP above 0 and at most 1 but received ${topP}.`);
  }
  const best = argmax(logits);
  if (temperature === 0) return best;

  const highest = logits[best]!;
  const weights = new Float64Array(logits.length);
  for (let token = 0; token < logits.length; token++) {
    const weight = Math.exp((logits[token]! - highest) / temperature);
    weights[token] = Number.isNaN(weight) ? 0 : weight;
  }
  const least = topK > 0 && topK < weights.length ? kthLargest(weights, topK) : 0;
  let total = 0;
  for (let token = 0; token < weights.length; token++) {
    if (weights[token]! < least) weights[token] = 0;
    total += weights[token]!;
  }
  // The likeliest token weighs 1.
  const kept = keepTopP(weights, total, topP).filter((token) => weights[token]! >= minP);
  let keptMass = 0;
  for (const token of kept) keptMass += weights[token]!;
  let rest = random() * keptMass;
  for (const token of kept) {
    rest -= weights[token]!;
    if (rest < 0) return token;
  }
  return kept[kept.length - 1]!;
}

/** Tokens in falling order of weight, ties in order of id, cut by `topP`. */
function keepTopP(weights: Float64Array, total: number, topP: number): number[] {
  // Tokens lighter than this weigh (1 - topP) of the total at most, all together: the cut comes before them. Leaving
  // them out keeps the sort short, which for 128 000 tokens is the difference between 60 ms and 1 ms.
  const lightest = ((1 - topP) * total) / weights.length;
  const order: number[] = [];
  for (let token = 0; token < weights.length; token++) {
    if (weights[token]! > 0 && weights[token]! >= lightest) order.push(token);
  }
  if (topP === 1) return order;
  order.sort((a, b) => weights[b]! - weights[a]! || a - b);
  let before = 0;
  const end = order.findIndex((token) => {
    if (before > topP * total) return true;
    before += weights[token]!;
    return false;
  });
  return end === -1 ? order : order.slice(0, end);
}

/** The weight of the `k`-th token in falling order. For small `k` without sorting a whole vocabulary. */
function kthLargest(weights: Float64Array, k: number): number {
  const largest = new Float64Array(k).fill(-1); // rising
  for (const weight of weights) {
    if (weight <= largest[0]!) continue;
    let place = 1;
    while (place < k && largest[place]! < weight) {
      largest[place - 1] = largest[place]!;
      place++;
    }
    largest[place - 1] = weight;
  }
  return largest[0]!;
}
