import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type Camera, type CameraStatus, openCamera } from '#sdk/capture/index.js';
import type { ManagedCamera } from '#sdk/capture/managed-camera.js';
import { captureHosts, isAlive, mappedRings } from './process-watch.js';

const error = (code: string) => expect.objectContaining({ name: 'SdkError', code });
const quick = { reopen: { initialDelayMs: 20, maximumDelayMs: 50 } } as const;
const hostPid = (camera: Camera) => (camera as ManagedCamera).hostPid!;

/** Waits for a status; every change in between is seen or was overtaken by a newer one. */
async function status(camera: Camera, state: CameraStatus['state']): Promise<CameraStatus> {
  for await (const change of camera.statusChanges()) if (change.state === state) return change;
  throw new Error(`closed before ${state}`);
}

describe('a capture host that fails', () => {
  test('is replaced when it is killed: the loss is told, frames and numbers go on', async () => {
    await using camera = await openCamera('test:checker', quick);
    const before = await camera.read();
    const pid = hostPid(camera);
    const lost = status(camera, 'reopening');
    process.kill(pid, 'SIGKILL');
    expect((await lost).error).toEqual(error('ERR_CAPTURE_HOST_DIED'));
    const after = await camera.read(); // waited through the outage
    expect(after.sequence).toBeGreaterThan(before.sequence);
    expect(hostPid(camera)).not.toBe(pid);
    expect(camera.status.state).toBe('streaming');
  });

  test('is killed and replaced when it hangs, as a stopped process does', async () => {
    await using camera = await openCamera('test:checker', { ...quick, timeoutMs: 300 });
    const before = await camera.read();
    const pid = hostPid(camera);
    const lost = status(camera, 'reopening');
    process.kill(pid, 'SIGSTOP');
    expect((await lost).error).toEqual(error('ERR_CAPTURE_TIMEOUT'));
    expect(isAlive(pid)).toBe(false);
    await status(camera, 'streaming');
    expect((await camera.read()).sequence).toBeGreaterThan(before.sequence);
  });

  test('is replaced when the source never returns from a read', async () => {
    await using camera = await openCamera('test:hang?frames=3', { ...quick, timeoutMs: 300, fps: 100 });
    const seen: number[] = [];
    for await (const frame of camera) {
      seen.push(frame.sequence);
      if (frame.sequence > 6) break; // the third host
    }
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test('is replaced when a driver or codec crashes it', async () => {
    await using camera = await openCamera('test:die?frames=5', { ...quick, fps: 20 });
    const lost = await status(camera, 'reopening');
    expect(lost.error).toEqual(error('ERR_CAPTURE_HOST_DIED'));
    expect(lost.error?.details).toMatchObject({ how: 'SIGABRT' });
    expect(lost.retryAtMs).toBeGreaterThan(0);
  });

  test('fails for good when reopening is off, and every reader is told', async () => {
    await using camera = await openCamera('test:die?frames=5', { reopen: false, fps: 20 });
    await expect(
      (async () => {
        for await (const _ of camera);
      })(),
    ).rejects.toEqual(error('ERR_CAPTURE_HOST_DIED'));
    await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_HOST_DIED'));
    expect(camera.status.state).toBe('failed');
  });

  test('gives up after the attempts that were allowed', async () => {
    const reopen = { ...quick.reopen, attempts: 2 };
    await using camera = await openCamera('test:die?frames=5', { reopen, fps: 20 });
    expect((await status(camera, 'failed')).error).toEqual(error('ERR_CAPTURE_HOST_DIED'));
  });

  test('lets a read wait no longer than readTimeoutMs, with the reason of the outage', async () => {
    const reopen = { initialDelayMs: 60_000, maximumDelayMs: 60_000 };
    await using camera = await openCamera('test:checker', { reopen, readTimeoutMs: 50 });
    process.kill(hostPid(camera), 'SIGKILL');
    await status(camera, 'reopening');
    await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_HOST_DIED'));
  });

  test('is told at once when the very first attempt dies', async () => {
    await expect(openCamera('test:die')).rejects.toEqual(error('ERR_CAPTURE_HOST_DIED'));
    await expect(openCamera('test:hang', { openTimeoutMs: 400 })).rejects.toEqual(error('ERR_CAPTURE_TIMEOUT'));
    expect(captureHosts()).toEqual([]);
  });

  test('is tried again in the background when a camera may be missing at start', async () => {
    await using camera = await openCamera('/dev/video99', { ...quick, requireFirstFrame: false, readTimeoutMs: 20 });
    const missing = await status(camera, 'reopening');
    expect(missing.error).toEqual(error('ERR_CAPTURE_NOT_FOUND'));
    await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_NOT_FOUND'));
  });
});

describe('readers', () => {
  test('are given the newest frame, never a queue of old ones', async () => {
    await using camera = await openCamera('test:checker', { fps: 100, id: 'lobby' });
    const first = await camera.read();
    expect(first.id).toBe(`lobby-${String(first.sequence).padStart(6, '0')}`);
    for await (const frame of camera) if (frame.sequence >= first.sequence + 20) break;
    const next = await camera.read();
    expect(next.sequence).toBeGreaterThanOrEqual(first.sequence + 20);
  });

  test('each have a position of their own, and reads at the same time share a frame', async () => {
    await using camera = await openCamera('test:checker', { fps: 20 });
    await camera.read();
    const together = async () => await Promise.all([camera.read(), camera.read()]);
    let [a, b] = await together();
    // The camera writes beside us: once in a while its next frame comes just between the two.
    for (let again = 0; a.sequence !== b.sequence && again < 5; again++) [a, b] = await together();
    expect(a.sequence).toBe(b.sequence);
    expect(a.data.buffer === b.data.buffer).toBe(false);
    for await (const frame of camera.frames()) {
      expect(frame.sequence).toBeGreaterThan(0);
      break;
    }
  });

  test('never see a mixture of two frames while a fast source overtakes them', async () => {
    const size = { width: 640, height: 360 };
    await using camera = await openCamera('test:checker', { fps: 240, size, ringSlots: 3 });
    let frames = 0;
    for await (const { data, sequence, width } of camera) {
      // native/capture/testPattern.h: two greys that follow from the number, in squares of 16 pixels.
      const base = (sequence * 37) & 255;
      for (let y = 0; y < 360; y += 8) {
        for (let x = 0; x < width; x += 8) {
          const grey = ((x >> 4) + (y >> 4)) & 1 ? ~base & 255 : base;
          if (data[(y * width + x) * 3] !== grey) expect.unreachable(`torn frame ${sequence} at ${x},${y}`);
        }
      }
      if (++frames === 150) break;
    }
  });

  test('can be given fewer frames than the camera has', async () => {
    await using camera = await openCamera('test:checker', { fps: 100 });
    const numbers: number[] = [];
    for await (const frame of camera.frames({ maxFps: 10 })) if (numbers.push(frame.sequence) === 3) break;
    expect(numbers[2]! - numbers[0]!).toBeGreaterThanOrEqual(4);
  });

  test('stop at once when they are aborted, with the reason of the abort', async () => {
    await using camera = await openCamera('test:hang?frames=1', { fps: 100, timeoutMs: 60_000 });
    await camera.read();
    const reason = new Error('enough');
    const controller = new AbortController();
    const reading = camera.read({ signal: controller.signal });
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await expect(camera.read({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const loop = (async () => {
      for await (const _ of camera.frames({ signal: controller.signal }));
    })();
    await expect(loop).rejects.toBe(reason);
  });

  test('do not block the opening of a camera from being aborted', async () => {
    const reason = new Error('no longer needed');
    const controller = new AbortController();
    const opening = openCamera('test:hang', { signal: controller.signal });
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
    expect(captureHosts()).toEqual([]);
  });
});

describe('closing', () => {
  test('leaves no process, no shared memory and no waiting reader behind', async () => {
    const camera = await openCamera('test:hang?frames=1', { timeoutMs: 60_000 });
    await camera.read();
    const pid = hostPid(camera);
    expect(mappedRings()).toHaveLength(1);
    const waiting = expect(camera.read()).rejects.toEqual(error('ERR_DISPOSED'));
    const loop = (async () => {
      for await (const _ of camera);
    })();
    await camera[Symbol.asyncDispose]();
    await waiting;
    await loop; // a loop ends with its camera
    await camera[Symbol.asyncDispose]();
    expect(isAlive(pid)).toBe(false);
    expect(mappedRings()).toEqual([]);
    expect(camera.status.state).toBe('closed');
    await expect(camera.read()).rejects.toEqual(error('ERR_DISPOSED'));
  });

  test('happens by itself to the host when its parent is killed', async () => {
    const parent: ChildProcess = fork(fileURLToPath(new URL('./camera-owner.mjs', import.meta.url)), { execArgv: [] });
    const pid = await new Promise<number>((resolve) => parent.once('message', (message) => resolve(Number(message))));
    expect(isAlive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false);
  });

  test('clears away the shared memory of hosts that were killed, and no other', async () => {
    const stress = fileURLToPath(new URL('../../../native/build/native/capture/frameRingStress', import.meta.url));
    const writer = () => {
      const child = spawn(stress, ['1000000000', '0'], { stdio: ['ignore', 'pipe', 'ignore'] });
      return new Promise<{ child: ChildProcess; name: string }>((resolve) =>
        child.stdout.once('data', (line) => resolve({ child, name: /ring \/(\S+)/.exec(String(line))![1]! })),
      );
    };
    const [killed, living] = await Promise.all([writer(), writer()]);
    try {
      killed.child.kill('SIGKILL');
      await once(killed.child, 'exit');
      expect(readdirSync('/dev/shm')).toEqual(expect.arrayContaining([killed.name, living.name]));
      await using _ = await openCamera('test:checker');
      expect(readdirSync('/dev/shm')).not.toContain(killed.name);
      expect(readdirSync('/dev/shm')).toContain(living.name);
    } finally {
      living.child.kill('SIGTERM');
      await once(living.child, 'exit');
    }
    await using _ = await openCamera('test:checker');
    expect(readdirSync('/dev/shm')).not.toContain(living.name);
  });

  test('never brings OpenCV into this process', async () => {
    await using camera = await openCamera('test:checker');
    await camera.read();
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('libopencv');
    expect(readFileSync(`/proc/${hostPid(camera)}/maps`, 'utf8')).toContain('libopencv');
  });

  test('keeps no name in shared memory even while the camera runs', async () => {
    await using camera = await openCamera('test:checker');
    await camera.read();
    const inode = mappedRings()[0]!.trim().split(/\s+/);
    expect(inode.at(-1)).toBe('(deleted)');
    expect(readdirSync('/dev/shm')).not.toContain(inode.at(-2)!.slice('/dev/shm/'.length));
  });
});
