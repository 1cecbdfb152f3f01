/**
 * What a camera costs the process that opened it: `node dist/test/bench/capture-cost.js [address] [seconds]`.
 * Prints the share of one core, of this process and of its capture host, while nobody reads and while a reader takes
 * every frame.
 */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { openCamera } from '#sdk/capture/index.js';
import type { ManagedCamera } from '#sdk/capture/managed-camera.js';

const address = process.argv[2] ?? 'test:moving';
const seconds = Number(process.argv[3] ?? 10);

/** User and system time of a process, seconds (proc(5), fields 14 and 15 at 100 ticks a second). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(name: string, hostPid: number, work: () => Promise<number>): Promise<void> {
  const usage = process.cpuUsage();
  const hostBefore = cpuSeconds(hostPid);
  const startedAt = performance.now();
  const frames = await work();
  const elapsedMs = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(usage);
  const own = (user + system) / 10 / elapsedMs;
  const host = ((cpuSeconds(hostPid) - hostBefore) * 1e5) / elapsedMs;
  const rate = (frames * 1000) / elapsedMs;
  console.log(
    `${name.padEnd(22)} ${rate.toFixed(1).padStart(5)} frames/s   this process ${own.toFixed(2)} %   capture host ${host.toFixed(1)} % of one core`,
  );
}

const camera = await openCamera(address, { size: { width: 1280, height: 720 }, fps: 30 });
const { info } = camera;
console.log(
  `${info.address}: ${info.size?.width}x${info.size?.height} at ${info.framesPerSecond ?? '?'}/s through ${info.backend}`,
);
console.log(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`);
const pid = (camera as ManagedCamera).hostPid!;
await camera.read();
await measure('nobody reads', pid, async () => {
  await sleep(seconds * 1000);
  return 0;
});
await measure('every frame is read', pid, async () => {
  let frames = 0;
  for await (const _ of camera.frames({ signal: undefined })) if (++frames >= seconds * 30) break;
  return frames;
});
await camera[Symbol.asyncDispose]();
