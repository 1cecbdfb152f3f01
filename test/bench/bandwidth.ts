import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '#sdk/native/index.js';

/** Memory bandwidth that all threads together reach now, GB/s. */
export interface BandwidthProbe {
  measure(): Promise<number>;
  close(): void;
}

export function startBandwidthProbe(threads: number): BandwidthProbe {
  const program = path.join(packageRoot(), 'native', 'build', 'native', 'cpu', 'cpuBandwidth');
  const child = spawn(program, [String(threads)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async measure() {
      child.stdin.write('\n');
      return Number((await lines.next()).value);
    },
    close: () => child.stdin.end(),
  };
}
