/** What is measured. Each contender does the same work in turn, round after round, with the bandwidth beside it. */
import type { BandwidthProbe } from './bandwidth.js';
import type { Contender } from './contenders.js';
import { median } from './median.js';

export interface Benchmark {
  readonly name: string;
  /** Tokens in the cache before the measured call. */
  readonly context: number;
  /** Tokens of the measured call. */
  readonly tokens: number;
  readonly logits: 'last' | 'all';
  /** Measured calls of one round. */
  readonly calls: number;
}

export const BENCHMARKS: Readonly<Record<string, readonly Benchmark[]>> = {
  decode: [
    { name: 'decode, context 128', context: 128, tokens: 1, logits: 'last', calls: 8 },
    { name: 'decode, context 4096', context: 4096, tokens: 1, logits: 'last', calls: 4 },
  ],
  verify: [2, 4, 8, 16].map((tokens) => ({
    name: `verify ${tokens} tokens`,
    context: 128,
    tokens,
    logits: 'all' as const,
    calls: 4,
  })),
  prefill: [128, 512].map((tokens) => ({
    name: `prefill ${tokens}`,
    context: 0,
    tokens,
    logits: 'last' as const,
    calls: 1,
  })),
};

export interface Result {
  readonly benchmark: string;
  readonly contender: string;
  readonly medianMs: number;
  readonly bestMs: number;
  /** Median over the rounds of: time that reading the weights and the cache takes at the round's bandwidth / time. */
  readonly rooflineFraction: number;
  readonly bandwidthGBs: number;
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
  const rounds = work.contenders.map(() => ({ ms: [] as number[], fractions: [] as number[] }));
  const bandwidths: number[] = [];
  for (let round = 0; round < work.rounds; round += 1) {
    for (const [index, contender] of work.contenders.entries()) {
      const before = await work.probe.measure();
      const times: number[] = [];
      for (let call = 0; call < calls; call += 1) {
        const start = performance.now();
        await contender.forward(context, input, logits);
        times.push(performance.now() - start);
      }
      const bandwidth = Math.max(before, await work.probe.measure());
      bandwidths.push(bandwidth);
      const bytes = contender.weightBytes + context * work.cacheValuesPerToken * contender.cacheValueBytes;
      rounds[index]!.ms.push(...times);
      rounds[index]!.fractions.push(bytes / (bandwidth * 1e6) / median(times));
    }
  }
  return work.contenders.map(({ name }, index) => ({
    benchmark: benchmark.name,
    contender: name,
    medianMs: median(rounds[index]!.ms),
    bestMs: Math.min(...rounds[index]!.ms),
    rooflineFraction: median(rounds[index]!.fractions),
    bandwidthGBs: median(bandwidths),
  }));
}
