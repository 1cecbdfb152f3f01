/**
 * What a camera costs the process that opened it: the share of one core, of this process and of its capture host, while
 * nobody reads and while a reader takes every frame. And what the frame gate costs, which looks at each frame.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openCamera } from '#sdk/capture/index.js';
import type { ManagedCamera } from '#sdk/capture/managed-camera.js';
import { ChangeGate } from '#sdk/image/index.js';
import { median } from './median.js';

export interface CaptureResult {
  readonly name: string;
  readonly framesPerSecond: number;
  /** Percent of one core. */
  readonly processShare: number;
  readonly hostShare: number;
}

export interface GateResult {
  readonly width: number;
  readonly height: number;
  readonly medianMs: number;
  readonly maxMs: number;
}

export async function benchCapture(address: string, seconds: number): Promise<readonly CaptureResult[]> {
  await using camera = await openCamera(address, { size: { width: 1280, height: 720 }, fps: 30 });
  const { info } = camera;
  console.log(
    `${info.address}: ${info.size?.width}x${info.size?.height} at ${info.framesPerSecond ?? '?'}/s through ${info.backend}`,
  );
  const pid = (camera as ManagedCamera).hostPid!;
  await camera.read();
  const idle = await measure('nobody reads', pid, async () => {
    await sleep(seconds * 1000);
    return 0;
  });
  const reading = await measure('every frame is read', pid, async () => {
    let frames = 0;
    for await (const _ of camera.frames()) if (++frames >= seconds * 30) break;
    return frames;
  });
  return [idle, reading];
}

const SIZES = [
  [640, 480],
  [1280, 720],
  [1920, 1080],
  [3840, 2160],
] as const;
/** More bytes than caches keep: a frame that just arrived was not read by this core either. */
const PICTURE_BYTES = 256e6;

/** @param rounds Looks at each size, a different picture each time while there are any. */
export function benchGate(rounds: number): readonly GateResult[] {
  return SIZES.map(([width, height]) => {
    const pictures = Array.from({ length: Math.ceil(PICTURE_BYTES / (width * height * 3)) }, (_, value) => {
      const data = new Uint8Array(width * height * 3).fill(value);
      return { width, height, format: 'bgr8', data } as const;
    });
    const gate = new ChangeGate();
    gate.update(pictures[0]!);
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const picture = pictures[round % pictures.length]!;
      const startedMs = performance.now();
      gate.update(picture);
      times.push(performance.now() - startedMs);
    }
    const [medianMs, maxMs] = [median(times), Math.max(...times)];
    console.log(`frame gate ${width}x${height}: median ${medianMs.toFixed(2)} ms, at most ${maxMs.toFixed(2)} ms`);
    return { width, height, medianMs, maxMs };
  });
}

/** User and system time of a process, seconds (proc(5), fields 14 and 15 at 100 ticks a second). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(name: string, hostPid: number, work: () => Promise<number>): Promise<CaptureResult> {
  const usage = process.cpuUsage();
  const hostBefore = cpuSeconds(hostPid);
  const startedMs = performance.now();
  const frames = await work();
  const elapsedMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(usage);
  const processShare = (user + system) / 10 / elapsedMs;
  const hostShare = ((cpuSeconds(hostPid) - hostBefore) * 1e5) / elapsedMs;
  const framesPerSecond = (frames * 1000) / elapsedMs;
  console.log(
    `${name.padEnd(22)} ${framesPerSecond.toFixed(1).padStart(5)} frames/s   this process ${processShare.toFixed(2)} %   capture host ${hostShare.toFixed(1)} % of one core`,
  );
  return { name, framesPerSecond, processShare, hostShare };
}
