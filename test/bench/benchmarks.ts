/** What is measured. Each contender does the same work in turn, round after round, with the bandwidth beside it. */
import { type BandwidthProbe, type ProbedCalls, probeCalls, type Roofline, rooflineOf } from './bandwidth.js';
import type { Contender } from './contenders.js';
import { median } from './median.js';

export interface Benchmark {
  readonly name: string;
  /** Tokens in the cache before the measured call. */
  readonly context: number;
  /** Tokens of the measured call. */
  readonly tokens: number;
  readonly logits: 'last' | 'all';
  /** Measured calls of one round: bursts between two probes, calls of each. */
  readonly calls: readonly [bursts: number, each: number];
}

export const BENCHMARKS: Readonly<Record<string, readonly Benchmark[]>> = {
  decode: [
    { name: 'decode, context 128', context: 128, tokens: 1, logits: 'last', calls: [4, 3] },
    { name: 'decode, context 4096', context: 4096, tokens: 1, logits: 'last', calls: [3, 3] },
  ],
  verify: [2, 4, 8, 16].map((tokens) => ({
    name: `verify ${tokens} tokens`,
    context: 128,
    tokens,
    logits: 'all' as const,
    calls: [2, 3] as const,
  })),
  prefill: [128, 512].map((tokens) => ({
    name: `prefill ${tokens}`,
    context: 0,
    tokens,
    logits: 'last' as const,
    calls: [1, 1] as const,
  })),
};

export interface Result extends Roofline {
  readonly benchmark: string;
  readonly contender: string;
  readonly medianMs: number;
  readonly bestMs: number;
}

export interface Work {
  readonly contenders: readonly Contender[];
  readonly probe: BandwidthProbe;
  readonly rounds: number;
  /** Keys and values of one token in all layers: how many numbers. */
  readonly cacheValuesPerToken: number;
}

const token = (index: number) => (index * 7919 + 17) % 128_000;

export async function measure(benchmark: Benchmark, work: Work): Promise<Result[]> {
  const { context, tokens, logits, calls } = benchmark;
  const input = Int32Array.from({ length: tokens }, (_, i) => token(context + i));
  for (const contender of work.contenders) {
    const prompt = Int32Array.from({ length: context }, (_, i) => token(i));
    contender.restart?.();
    if (context > 0) await contender.forward(0, prompt, 'last');
    await contender.forward(context, input, logits); // warm
  }
  const rounds = work.contenders.map((): ProbedCalls[] => []);
  for (let round = 0; round < work.rounds; round += 1) {
    for (const [index, contender] of work.contenders.entries()) {
      const warmUp = () => contender.forward(context, input.subarray(0, 1), 'last');
      const timedForward = async () => {
        const start = performance.now();
        await contender.forward(context, input, logits);
        return performance.now() - start;
      };
      rounds[index]!.push(await probeCalls(work.probe, calls, timedForward, warmUp));
    }
  }
  return work.contenders.map((contender, index) => {
    const bytes = contender.weightBytes + context * work.cacheValuesPerToken * contender.cacheValueBytes;
    return resultOf(benchmark.name, contender.name, rounds[index]!, bytes);
  });
}

/** @param bytesPerCall what a call has to read; 0 where that is not what it waits for */
export function resultOf(
  benchmark: string,
  contender: string,
  rounds: readonly ProbedCalls[],
  bytesPerCall: number,
): Result {
  const ms = rounds.flatMap((round) => round.ms);
  return { benchmark, contender, medianMs: median(ms), bestMs: Math.min(...ms), ...rooflineOf(rounds, bytesPerCall) };
}
