/**
 * What a process of its own costs a model: the demo model answers about pictures in turn in this process and in another
 * one. Times are taken by the caller, around the call; the overhead is the difference to what the model itself counts.
 */
import path from 'node:path';
import { loadModel, type ModelImage, type VisionLanguageModel } from 'scenebus';
import { packageRoot } from '#sdk/native/index.js';
import { median } from './median.js';

type Isolation = 'none' | 'process';

export interface ProcessResult {
  readonly picture: string;
  readonly isolation: Isolation;
  /** Medians, milliseconds. */
  readonly firstTextMs: number;
  readonly totalMs: number;
  /** Of the whole call, beyond what the model counts. */
  readonly overheadMs: number;
  /** The least of all calls: what it is when nothing else runs on the machine. */
  readonly leastOverheadMs: number;
  readonly perTokenMs: number;
}

const PICTURES = [
  { width: 640, height: 480 },
  { width: 1280, height: 720 },
  { width: 3840, height: 2160 },
];

/** @param rounds calls about each picture, in this process and in the other in turn */
export async function benchProcess(rounds: number): Promise<readonly ProcessResult[]> {
  const checkpoint = path.join(packageRoot(), 'examples', 'demo-model', 'checkpoint');
  const results: ProcessResult[] = [];
  const models: Record<Isolation, VisionLanguageModel> = {
    none: await loadModel(checkpoint, { backend: 'cpu' }),
    process: await loadModel(checkpoint, { backend: 'cpu', isolation: 'process' }),
  };
  try {
    for (const { width, height } of PICTURES) {
      const calls: Record<Isolation, Timed[]> = { none: [], process: [] };
      for (let round = -2; round < rounds; round++) {
        for (const isolation of ['none', 'process'] as const) {
          const timed = await time(models[isolation], pictureOf(width, height));
          if (round >= 0) calls[isolation].push(timed);
        }
      }
      for (const isolation of ['none', 'process'] as const) {
        const of = (value: (call: Timed) => number) => median(calls[isolation].map(value));
        const result = {
          picture: `${width} × ${height}`,
          isolation,
          firstTextMs: of((call) => call.firstTextMs),
          totalMs: of((call) => call.totalMs),
          overheadMs: of((call) => call.totalMs - call.modelMs),
          leastOverheadMs: Math.min(...calls[isolation].map((call) => call.totalMs - call.modelMs)),
          perTokenMs: of((call) => call.restMs / Math.max(call.tokens - 1, 1)),
        };
        results.push(result);
        const shown = [
          result.firstTextMs,
          result.totalMs,
          result.overheadMs,
          result.leastOverheadMs,
          result.perTokenMs,
        ];
        console.log(
          `${result.picture.padEnd(12)} ${isolation.padEnd(8)} first text, whole, overhead (least), per token: ${shown.map((ms) => ms.toFixed(2)).join(', ')} ms`,
        );
      }
    }
  } finally {
    for (const model of Object.values(models)) await model[Symbol.asyncDispose]();
  }
  return results;
}

interface Timed {
  readonly firstTextMs: number;
  readonly totalMs: number;
  readonly restMs: number;
  readonly modelMs: number;
  readonly tokens: number;
}

/** The same picture each time, so that its features are cached: what is left is the model's shortest way to an answer. */
function pictureOf(width: number, height: number): ModelImage {
  return { width, height, format: 'rgb8', data: new Uint8Array(width * height * 3).fill(90) };
}

async function time(model: VisionLanguageModel, image: ModelImage): Promise<Timed> {
  const content = [{ type: 'image', image } as const, { type: 'text', text: 'Describe.' } as const];
  const startedMs = performance.now();
  let firstTextMs = 0;
  const stream = model.generate({ messages: [{ role: 'user', content }] }, { temperature: 0, drafting: 'off' });
  for await (const _ of stream) firstTextMs ||= performance.now() - startedMs;
  const { usage, timings } = await stream.collect();
  const totalMs = performance.now() - startedMs;
  const tokens = usage.generatedTokens;
  return { firstTextMs, totalMs, restMs: totalMs - firstTextMs, modelMs: timings.totalMs, tokens };
}
