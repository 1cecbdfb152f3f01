/**
 * `--shape 11b`: one image and text on the whole model at its real sizes, by the road that users take: checkpoint
 * folder, cpu engine with its vision tower. Random weights; loads and memory are those of fresh processes.
 */
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { packedForm } from '#sdk/architecture/packed-form.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { type BandwidthProbe, type ProbedCalls, probeCalls, type Roofline, rooflineOf } from './bandwidth.js';
import { startChild } from './child.js';
import { median } from './median.js';
import type { Memory } from './memory.js';
import { randomCheckpoint } from './random-model.js';
import type { WholeAnswer, WholeRequest } from './whole-model-child.js';

export interface WholeModelOptions {
  readonly directory: string;
  readonly groupSize: number;
  readonly threads: number;
  readonly rounds: number;
  readonly probe: BandwidthProbe;
}

export interface WholeModelResult extends Roofline {
  readonly loadMs: readonly number[];
  /** From the first call on: session, tiles, cross K/V. */
  readonly encodeMs: number;
  readonly decodeMs: readonly number[];
  /** Of the same processes that decoded, by number of tokens. */
  readonly verifyMs: readonly number[];
  readonly prefillMs: number;
  readonly bytesPerToken: number;
  readonly memory: Memory;
}

const CONTEXT = 128;
const CONTEXT_LENGTH = 1024;
/** Bursts of a round, calls of each. */
const DECODE_CALLS = [4, 3] as const;

export async function benchWholeModel(options: WholeModelOptions): Promise<WholeModelResult> {
  const { directory, groupSize, threads, rounds, probe } = options;
  const folder = await randomCheckpoint(directory, groupSize);
  const open = {
    kind: 'open',
    directory: folder,
    threads,
    cacheDirectory: directory,
    contextLength: CONTEXT_LENGTH,
  } as const;
  const first = start();
  console.log(`first load in this folder (packs where nothing is packed): ${seconds((await first.ask(open)).ms)}`);
  await first.close();
  const loadMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const child = start();
    loadMs.push((await child.ask(open)).ms);
    await child.close();
  }
  console.log(`prepared load: median ${seconds(median(loadMs))} of ${rounds}`);

  const child = start();
  await child.ask(open);
  const encodeMs = (await child.ask({ kind: 'encode' })).ms;
  console.log(`image of one tile: ${seconds(encodeMs)}`);
  const prefillMs = (await child.ask({ kind: 'forward', context: CONTEXT - 1, tokens: 1 })).ms;
  const { model } = await openCheckpoint(folder);
  const bytesPerToken = bytesOfToken(model);
  const forward = (tokens: number) => child.ask({ kind: 'forward', context: CONTEXT, tokens });
  const decodes: ProbedCalls[] = [];
  const verifyMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const timedForward = async () => (await forward(1)).ms;
    decodes.push(await probeCalls(probe, DECODE_CALLS, timedForward, () => forward(1)));
    for (let call = 0; call < 3; call += 1) verifyMs.push((await forward(8)).ms);
  }
  const memory = (await child.ask({ kind: 'memory' })).memory!;
  await child.close();
  const result: WholeModelResult = {
    loadMs,
    encodeMs,
    decodeMs: decodes.flatMap(({ ms }) => ms),
    verifyMs,
    prefillMs,
    bytesPerToken,
    ...rooflineOf(decodes, bytesPerToken),
    memory,
  };
  report(result);
  return result;
}

/** Linears of the text path once (cross layers keep their keys and values), self K/V of the context, cross K/V. */
function bytesOfToken(model: ModelDescription): number {
  let weights = 0;
  for (const name of model.tensors.keys()) {
    if (!name.endsWith('.weight_packed') || /cross_attn\.[kv]_proj/.test(name)) continue;
    const { rows, columns, bits, groupSize } = packedForm(model, name.slice(0, -'.weight_packed'.length));
    weights += (rows * columns * bits) / 8 + ((rows * columns) / groupSize) * 2;
  }
  const { vision, text } = model.architecture;
  const perPosition = text.keyValueHeads * text.headDim * 2 * 2;
  const tokensPerTile = (vision.tileSize / vision.patchSize) ** 2 + 1;
  const cross = text.crossAttentionLayers.length;
  return weights + perPosition * ((text.layers - cross) * CONTEXT + cross * tokensPerTile);
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

function report({
  decodeMs,
  verifyMs,
  prefillMs,
  bytesPerToken,
  rooflineFraction,
  bandwidthGBs,
  oneStreamFraction,
  oneStreamGBs,
  memory,
}: WholeModelResult) {
  const best = Math.min(...decodeMs);
  console.log(`prefill of ${CONTEXT} tokens: ${seconds(prefillMs)}`);
  console.log(
    `decode, one image, context ${CONTEXT}: median ${median(decodeMs).toFixed(0)} ms, best ${best.toFixed(0)} ms, ${rooflineFraction.toFixed(2)} of the roofline (${(bytesPerToken / 1e9).toFixed(2)} GB a token at ${bandwidthGBs.toFixed(1)} GB/s), ${oneStreamFraction.toFixed(2)} of one stream's ${oneStreamGBs.toFixed(1)} GB/s`,
  );
  console.log(`verify of 8 tokens: median ${(median(verifyMs) / median(decodeMs)).toFixed(2)} x one token`);
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  console.log(
    `resident ${gigabytes(memory.resident)} (anonymous ${gigabytes(memory.anonymous)}, mapped files ${gigabytes(memory.mappedFiles)}), peak ${gigabytes(memory.peak)}`,
  );
}

const start = () => startChild<WholeRequest, WholeAnswer>('./whole-model-child.js');
