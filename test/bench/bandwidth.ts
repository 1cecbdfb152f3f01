import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '#sdk/native/index.js';

/** Memory bandwidth that all threads together reach now, GB/s. */
export interface BandwidthProbe {
  measure(): Promise<number>;
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
      return Number(value);
    },
    close: () => child.stdin.end(),
  };
}
