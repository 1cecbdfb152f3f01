/** How far a quantised model's predictions are from the float model's, token by token over the same text. */
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import type { CallOptions } from '#sdk/core/types.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
import type { OpenEngine } from '#sdk/engine/options.js';
import type { CalibrationScene } from './calibration-samples.js';

export interface Divergence {
  /** Mean Kullback–Leibler divergence from the float model's distribution, in nats. */
  readonly meanKl: number;
  /** Part of the rows whose most likely token is the same. */
  readonly sameToken: number;
  readonly rows: number;
}

/** The rows that predict answers; all that see the picture where there is no answer. `[samples][rows · vocabulary]` */
export type Predictions = readonly Float32Array[];

type PredictOptions = CallOptions & {
  readonly threads?: number | undefined;
  readonly cacheDirectory?: string | undefined;
};

/** Logits of a model over all samples, computed with float32 activations. */
export function predict(
  checkpoint: Checkpoint,
  scenes: readonly CalibrationScene[],
  options: PredictOptions,
): Promise<Predictions> {
  const open: OpenEngine = (model, more) => openOnnxEngine(model, { ...more, accuracyLevel: 1 });
  return predictOn(open, checkpoint, scenes, options);
}

/** The same on another engine. */
export async function predictOn(
  open: OpenEngine,
  checkpoint: Checkpoint,
  scenes: readonly CalibrationScene[],
  options: PredictOptions,
): Promise<Predictions> {
  const contextLength = Math.max(...scenes.flatMap(({ samples }) => samples.map(({ tokens }) => tokens.length)));
  await using engine = await open(checkpoint, { ...options, contextLength });
  const { vocabularySize } = checkpoint.model.architecture.text;
  const predictions: Float32Array[] = [];
  for (const scene of scenes) {
    using image = await engine.encodeImage(await scene.image(options), options);
    for (const { tokens, imageTokenIndex, answerStart } of scene.samples) {
      using sequence = engine.createSequence();
      const images = [{ image, tokenIndex: imageTokenIndex }];
      const { logits } = await sequence.forward(tokens, { images, logits: 'all', signal: options.signal });
      const first = answerStart < tokens.length ? answerStart - 1 : imageTokenIndex;
      predictions.push(logits.slice(first * vocabularySize));
    }
  }
  return predictions;
}

export function compare(reference: Predictions, other: Predictions, vocabularySize: number): Divergence {
  const sum = { kl: 0, same: 0, rows: 0 };
  for (const [index, expected] of reference.entries()) {
    const actual = other[index]!;
    for (let start = 0; start < expected.length; start += vocabularySize) {
      const p = expected.subarray(start, start + vocabularySize);
      const q = actual.subarray(start, start + vocabularySize);
      sum.kl += klDivergence(p, q);
      sum.same += argmax(p) === argmax(q) ? 1 : 0;
      sum.rows += 1;
    }
  }
  return { meanKl: sum.kl / sum.rows, sameToken: sum.same / sum.rows, rows: sum.rows };
}

/** Of softmax(p) from softmax(q), in nats. */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  const [logP, logQ] = [logSumExp(p), logSumExp(q)];
  let sum = 0;
  for (let i = 0; i < p.length; i += 1) {
    const a = p[i]! - logP;
    sum += Math.exp(a) * (a - (q[i]! - logQ));
  }
  return sum;
}

function logSumExp(values: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > largest) largest = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - largest);
  return largest + Math.log(sum);
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i += 1) if (values[i]! > values[best]!) best = i;
  return best;
}
