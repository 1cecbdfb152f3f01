import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '#sdk/native/index.js';
import { median } from './median.js';

/** What memory gives to all threads together, GB/s. */
export interface Bandwidth {
  /** To a loop that reads from front to back, one stream a thread. */
  readonly oneStreamGBs: number;
  /** To the better of one and four streams a thread. */
  readonly bestGBs: number;
}

export interface BandwidthProbe {
  /** What it gives now. */
  measure(): Promise<Bandwidth>;
  close(): void;
}

/** @throws Error when the probe was not built, or ends before it has answered */
export function startBandwidthProbe(threads: number): BandwidthProbe {
  const program = path.join(packageRoot(), 'native', 'build', 'native', 'cpu', 'cpuBandwidth');
  if (!existsSync(program))
    throw new Error(`Expected the bandwidth probe at ${program}: run \`npm run build:native\`.`);
  const child = spawn(program, [String(threads)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async measure() {
      child.stdin.write('\n');
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${program} ended before it had measured.`);
      const [oneStreamGBs, fourStreamsGBs] = String(value).split(' ').map(Number) as [number, number];
      return { oneStreamGBs, bestGBs: Math.max(oneStreamGBs, fourStreamsGBs) };
    },
    close: () => child.stdin.end(),
  };
}

/** Bursts of calls, each between two probes. */
export interface ProbedCalls {
  readonly ms: readonly number[];
  /** For each call the mean of the two probes beside its burst. */
  readonly bandwidths: readonly Bandwidth[];
}

/**
 * @param call what it took, ms
 * @param warmUp before each burst, not timed: reads all weights, of which the system may have dropped pages meanwhile, and
 * wakes processors, whose host may take tens of milliseconds to give each a core
 */
export async function probeCalls(
  probe: BandwidthProbe,
  [bursts, callsPerBurst]: readonly [number, number],
  call: () => Promise<number>,
  warmUp?: () => Promise<unknown>,
): Promise<ProbedCalls> {
  const ms: number[] = [];
  const bandwidths: Bandwidth[] = [];
  let before = await probe.measure();
  for (let burst = 0; burst < bursts; burst += 1) {
    await warmUp?.();
    for (let i = 0; i < callsPerBurst; i += 1) ms.push(await call());
    const after = await probe.measure();
    const mean = (of: keyof Bandwidth) => (before[of] + after[of]) / 2;
    const bandwidth = { oneStreamGBs: mean('oneStreamGBs'), bestGBs: mean('bestGBs') };
    bandwidths.push(...Array.from({ length: callsPerBurst }, () => bandwidth));
    before = after;
  }
  return { ms, bandwidths };
}

export interface Roofline {
  /** Median over the calls of: time that reading takes at the best bandwidth / time taken. */
  readonly rooflineFraction: number;
  /** The same at the bandwidth of one stream. */
  readonly oneStreamFraction: number;
  readonly bandwidthGBs: number;
  readonly oneStreamGBs: number;
}

/** @param bytesPerCall what a call has to read */
export function rooflineOf(rounds: readonly ProbedCalls[], bytesPerCall: number): Roofline {
  const ms = rounds.flatMap((round) => round.ms);
  const bandwidths = rounds.flatMap((round) => round.bandwidths);
  const fraction = (of: keyof Bandwidth) =>
    median(ms.map((time, i) => bytesPerCall / (bandwidths[i]![of] * 1e6) / time));
  return {
    rooflineFraction: fraction('bestGBs'),
    oneStreamFraction: fraction('oneStreamGBs'),
    bandwidthGBs: median(bandwidths.map(({ bestGBs }) => bestGBs)),
    oneStreamGBs: median(bandwidths.map(({ oneStreamGBs }) => oneStreamGBs)),
  };
}
