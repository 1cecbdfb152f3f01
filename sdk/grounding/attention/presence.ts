/** Whether what was asked for is there at all, read from how heads look at a picture. */
import type { Attended } from './attention-map.js';

/** What tells a thing that is there from one that is not. */
export interface AttentionFeatures {
  /** −ln of the attention on class tokens: heads that find nothing look there. */
  readonly onPatches: number;
  /** −entropy of the mean over the heads, nats: one place, not many. */
  readonly concentration: number;
  /** The largest weight of that mean. */
  readonly peak: number;
  /** 0–1: how much the heads look at the same places (Bhattacharyya coefficient of each pair, averaged); 1 for one head. */
  readonly agreement: number;
}

/** Logistic regression over the features, fitted by `scenebus calibrate-grounding`. */
export interface PresenceModel {
  readonly weights: AttentionFeatures;
  readonly bias: number;
  /** A thing is there from this probability on. */
  readonly threshold: number;
}

/** Keeps the logarithm of no attention at all finite. */
const LEAST = 1e-5;

/** @param attended as the map's: its class tokens are those of each tile's first token */
export function attentionFeatures({ weights, heads, geometry }: Attended): AttentionFeatures {
  const tokens = weights.length / heads;
  const tiles =
    Math.round(geometry.canvasWidth / geometry.tileSize) * Math.round(geometry.canvasHeight / geometry.tileSize);
  const tokensPerTile = tokens / tiles;
  const mean = new Float64Array(tokens);
  for (let i = 0; i < weights.length; i++) mean[i % tokens]! += weights[i]! / heads;
  let onClass = 0;
  let entropy = 0;
  let peak = 0;
  for (const [token, weight] of mean.entries()) {
    if (token % tokensPerTile === 0) onClass += weight;
    if (weight > 0) entropy -= weight * Math.log(weight);
    peak = Math.max(peak, weight);
  }
  return {
    onPatches: -Math.log(onClass + LEAST),
    concentration: -entropy,
    peak,
    agreement: agreementOf(weights, heads),
  };
}

function agreementOf(weights: Float32Array, heads: number): number {
  if (heads < 2) return 1;
  const tokens = weights.length / heads;
  let sum = 0;
  for (let a = 0; a < heads; a++) {
    for (let b = 0; b < a; b++) {
      for (let t = 0; t < tokens; t++) sum += Math.sqrt(weights[a * tokens + t]! * weights[b * tokens + t]!);
    }
  }
  return sum / ((heads * (heads - 1)) / 2);
}

/** 0–1. */
export function presenceProbability(features: AttentionFeatures, { weights, bias }: PresenceModel): number {
  const names = Object.keys(weights) as (keyof AttentionFeatures)[];
  return 1 / (1 + Math.exp(-names.reduce((sum, name) => sum + weights[name] * features[name], bias)));
}
