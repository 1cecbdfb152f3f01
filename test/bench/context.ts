/**
 * What a long context takes: memory of a prefill in slices beside weights and K/V at the 8B decoder's sizes, and what K/V in
 * fewer bits change of the demo model's predictions.
 */
import { fileURLToPath } from 'node:url';
import { readCalibration } from '#calibration/quantize/calibration-samples.js';
import { compare, type Divergence, predictOn } from '#calibration/quantize/divergence.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { openCpuEngine } from '#sdk/engine/index.js';
import { startChild } from './child.js';
import type { ContextAnswer, ContextRequest } from './context-child.js';
import { randomModelBytes } from './random-model.js';
import { TEXT_SHAPES } from './shapes.js';

const demoModel = fileURLToPath(new URL('../../../examples/demo-model', import.meta.url));
const SLICE_TOKENS = 256;
const SHAPE = '8b';
const MEGABYTE = 1e6;

export interface ContextBenchOptions {
  readonly directory: string;
  readonly groupSize: number;
  readonly threads: number;
  readonly tokens: number;
  /** Of the decoder, computed; the memory of all its layers is counted. */
  readonly layers: number;
  readonly scenes: number;
}

export interface ContextBench {
  readonly tokens: number;
  readonly layersComputed: number;
  readonly prefillSeconds: number;
  /** Beyond weights and K/V: buffers of a slice, logits, the process itself. */
  readonly workingMegabytes: number;
  /** Of them what came while the prompt was taken in, K/V left out. */
  readonly grownMegabytes: number;
  readonly weightMegabytes: number;
  readonly keyValueMegabytes: number;
  /** Of weights and K/V of the whole model. */
  readonly workingShare: number;
  readonly keyValueTypes: readonly (Divergence & { readonly type: 'f16' | 'int8' })[];
}

export async function benchContext(options: ContextBenchOptions): Promise<ContextBench> {
  const keyValueTypes = await divergenceOfTypes(options);
  const { directory, groupSize, threads, tokens, layers } = options;
  const child = startChild<ContextRequest, ContextAnswer>('./context-child.js');
  let answer: ContextAnswer;
  try {
    const contextLength = tokens + SLICE_TOKENS;
    const request = { shape: SHAPE, directory, groupSize, threads, layers, tokens, contextLength } as const;
    answer = await child.ask({ ...request, sliceTokens: SLICE_TOKENS, cacheDirectory: `${directory}/cache-context` });
  } finally {
    await child.close();
  }
  const shape = TEXT_SHAPES[SHAPE];
  const perLayer = tokens * 2 * shape.keyValueHeads * shape.headDim * 2;
  const { opened, prefilled, prefillMs } = answer;
  const weightBytes = randomModelBytes(SHAPE, groupSize);
  const keyValueBytes = perLayer * shape.layers;
  // Weights are mapped from files; of what is anonymous, K/V are known to the byte.
  const workingBytes = prefilled.anonymous - perLayer * layers;
  return {
    tokens,
    layersComputed: layers,
    prefillSeconds: prefillMs / 1000,
    workingMegabytes: workingBytes / MEGABYTE,
    grownMegabytes: (prefilled.anonymous - opened.anonymous - perLayer * layers) / MEGABYTE,
    weightMegabytes: weightBytes / MEGABYTE,
    keyValueMegabytes: keyValueBytes / MEGABYTE,
    workingShare: workingBytes / (weightBytes + keyValueBytes),
    keyValueTypes,
  };
}

/** Against K/V in float32, on the demo model's own pictures, over the tokens of their answers. */
async function divergenceOfTypes({ scenes: count, threads, directory }: ContextBenchOptions) {
  const checkpoint = await openCheckpoint(`${demoModel}/checkpoint`);
  const scenes = await readCalibration(`${demoModel}/evaluation`, checkpoint, { count });
  const predictions = async (keyValueType: 'f32' | 'f16' | 'int8') =>
    await predictOn((model, more) => openCpuEngine(model, { ...more, keyValueType }), checkpoint, scenes, {
      threads,
      cacheDirectory: `${directory}/cache-context`,
    });
  const exact = await predictions('f32');
  const { vocabularySize } = checkpoint.model.architecture.text;
  return [
    { type: 'f16' as const, ...compare(exact, await predictions('f16'), vocabularySize) },
    { type: 'int8' as const, ...compare(exact, await predictions('int8'), vocabularySize) },
  ];
}
