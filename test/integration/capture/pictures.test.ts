/** What is in the pictures: turned as their file says, moving or frozen, decoded the same way everywhere. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Camera, type CameraStatus, openCamera } from '#sdk/capture/index.js';
import type { ManagedCamera } from '#sdk/capture/managed-camera.js';
import type { Frame } from '#sdk/core/types.js';
import { ChangeGate, decodeImage, type FrameGlance } from '#sdk/image/index.js';

const run = promisify(execFile);
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-pictures-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const error = (code: string) => expect.objectContaining({ name: 'SdkError', code });
async function status(camera: Camera, state: CameraStatus['state']): Promise<CameraStatus> {
  for await (const change of camera.statusChanges()) if (change.state === state) return change;
  throw new Error(`closed before ${state}`);
}
const ffmpeg = (...options: string[]) => run('ffmpeg', ['-v', 'error', '-y', ...options]);
const source = (seconds: number) => ['-f', 'lavfi', '-i', `testsrc2=s=160x96:r=10:d=${seconds}`];
const h264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '10', '-bf', '0'];

describe('the orientation that a clip declares', () => {
  const MATRICES = {
    'a quarter clockwise': [0, 1, -1, 0],
    'upside down': [-1, 0, 0, -1],
    'three quarters': [0, -1, 1, 0],
    mirrored: [-1, 0, 0, 1],
    flipped: [1, 0, 0, -1],
    'mirrored and turned': [0, 1, 1, 0],
    'mirrored and turned back': [0, -1, -1, 0],
  } as const;
  let upright: Buffer;
  beforeAll(async () => {
    const path = join(folder, 'upright.mp4');
    await ffmpeg(...source(0.5), ...h264, path);
    upright = await readFile(path);
  });

  test.each(Object.entries(MATRICES))('%s is done as FFmpeg does it, by each part of OpenCV', async (name, matrix) => {
    const clip = Buffer.from(upright);
    const at = clip.indexOf('tkhd', 0, 'latin1') + 4 + 4 + 20 + 16;
    for (const [index, value] of [matrix[0], matrix[1], 0, matrix[2], matrix[3]].entries()) {
      clip.writeInt32BE(value * 65_536, at + 4 * index);
    }
    const path = join(folder, `${name}.mp4`);
    await writeFile(path, clip);
    await ffmpeg('-i', path, '-frames:v', '1', `${path}.png`);
    const expected = await sharp(`${path}.png`).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    for (const backend of ['ffmpeg', 'gstreamer'] as const) {
      const camera = await openCamera(path, { backend }).catch((cause: { code?: string }) => {
        if (cause.code === 'ERR_CAPTURE_UNSUPPORTED' && backend === 'gstreamer') return undefined; // no such OpenCV here
        throw cause;
      });
      if (camera === undefined) continue;
      await using _ = camera;
      const frame = await camera.read();
      expect([frame.width, frame.height]).toEqual([expected.info.width, expected.info.height]);
      expect(meanDifference(frame, expected.data)).toBeLessThan(4);
    }
  });

  test('is read over HTTP as well', async () => {
    const clip = Buffer.from(upright);
    const at = clip.indexOf('tkhd', 0, 'latin1') + 4 + 4 + 20 + 16;
    for (const [index, value] of [0, 1, 0, -1, 0].entries()) clip.writeInt32BE(value * 65_536, at + 4 * index);
    const server = createServer((request, response) => {
      const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
      const from = Number(range?.[1] ?? 0);
      const to = Math.min(range?.[2] ? Number(range[2]) + 1 : clip.length, clip.length);
      response.setHeader('accept-ranges', 'bytes');
      response.setHeader('content-range', `bytes ${from}-${to - 1}/${clip.length}`);
      response.writeHead(range ? 206 : 200, { 'content-length': Math.max(0, to - from), 'content-type': 'video/mp4' });
      response.end(clip.subarray(from, to));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    try {
      const { port } = server.address() as AddressInfo;
      await using camera = await openCamera(`http://127.0.0.1:${port}/turned.mp4`, { backend: 'ffmpeg' });
      expect(await camera.read()).toMatchObject({ width: 96, height: 160 });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test('is joined with the rotation and size that the caller wants', async () => {
    const clip = Buffer.from(upright);
    const at = clip.indexOf('tkhd', 0, 'latin1') + 4 + 4 + 20 + 16;
    for (const [index, value] of [0, 1, 0, -1, 0].entries()) clip.writeInt32BE(value * 65_536, at + 4 * index);
    const path = join(folder, 'turned.mp4');
    await writeFile(path, clip);
    await using camera = await openCamera(path, { rotation: 90, size: { width: 80, height: 480 } });
    expect(await camera.read()).toMatchObject({ width: 80, height: 48 });
  });
});

/** Of a bgr8 frame and rgb8 pixels. */
function meanDifference({ data }: Frame, rgb: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < rgb.length; at += 3) {
    sum +=
      Math.abs(data[at]! - rgb[at + 2]!) + Math.abs(data[at + 1]! - rgb[at + 1]!) + Math.abs(data[at + 2]! - rgb[at]!);
  }
  return sum / rgb.length;
}

describe('a picture that stands still while frames come', () => {
  const quick = { fps: 100, frozenTimeoutMs: 200, reopen: { initialDelayMs: 20, maximumDelayMs: 100 } };

  test('makes the camera stalled and has it opened again, after which it moves', async () => {
    await using camera = await openCamera('test:freeze?frames=5', quick);
    const stalled = await status(camera, 'stalled');
    expect(stalled.error).toEqual(error('ERR_CAPTURE_STALLED'));
    expect(stalled.error?.message).toContain('byte for byte');
    await status(camera, 'streaming');
  });

  test('that is the same after it was opened again stays stalled, is read all the same, and is not opened all the time', async () => {
    await using camera = await openCamera('test:still', quick);
    const first = (camera as ManagedCamera).hostPid;
    await status(camera, 'stalled');
    await expect.poll(() => (camera as ManagedCamera).hostPid ?? first, { timeout: 20_000 }).not.toBe(first);
    const before = await camera.read();
    const second = (camera as ManagedCamera).hostPid;
    for await (const frame of camera) if (frame.sequence > before.sequence + 80) break; // 800 ms: four times the limit
    expect(camera.status.state).toBe('stalled');
    expect((camera as ManagedCamera).hostPid).toBe(second);
  });

  test('is passed over where it lies, by whoever only looks for changes', async () => {
    await using camera = await openCamera('test:freeze?frames=40', { fps: 100, frozenTimeoutMs: 0 });
    const gate = new ChangeGate();
    const stop = new AbortController();
    const given: number[] = [];
    let looks = 0;
    const skip = (glance: FrameGlance) => {
      looks += 1;
      if (looks > 60) stop.abort();
      return !gate.measure(glance).changed;
    };
    const reading = async () => {
      for await (const frame of camera.frames({ maxFps: 50, signal: stop.signal, skip })) {
        gate.accept(frame);
        given.push(frame.sequence);
      }
    };
    await expect(reading()).rejects.toMatchObject({ name: 'AbortError' });
    expect(given.length).toBeGreaterThan(0);
    // The checker changes with each of its first 40 frames, and never again.
    expect(given.at(-1)).toBeGreaterThanOrEqual(1);
    expect(given.length).toBeLessThanOrEqual(40);
    expect(looks).toBeGreaterThan(given.length);
    const frame = await camera.read();
    expect(gate.measure(frame)).toEqual({ changed: false, mean: 0, maxBlock: 0 });
    expect(camera.newestSequence).toBeGreaterThan(40);
  });

  test('is nothing where the caller says so', async () => {
    await using camera = await openCamera('test:still', { ...quick, frozenTimeoutMs: 0 });
    const pid = (camera as ManagedCamera).hostPid;
    for await (const frame of camera) if (frame.sequence > 60) break;
    expect([camera.status.state, (camera as ManagedCamera).hostPid]).toEqual(['streaming', pid]);
  });
});

describe('recordings', () => {
  test('whose time stamps jump by an hour play on: the jump is a cut', async () => {
    const parts = await Promise.all(
      [0, 3600].map(async (offset) => {
        const path = join(folder, `part-${offset}.ts`);
        await ffmpeg(...source(1), ...h264, '-output_ts_offset', String(offset), path);
        return readFile(path);
      }),
    );
    const path = join(folder, 'jump.ts');
    await writeFile(path, Buffer.concat(parts));
    const lines: string[] = [];
    await using camera = await openCamera(path, { logger: { log: (_, line) => void lines.push(line) } });
    let last: Frame | undefined;
    for await (const frame of camera) last = frame;
    expect(last?.mediaTimeMs).toBeGreaterThan(1500);
    expect(last?.mediaTimeMs).toBeLessThan(3000);
    expect(lines.join('\n')).toContain('taken as a cut');
  });

  test('whose pictures change their size say so instead of going on with the old one', async () => {
    const parts = await Promise.all(
      ['160:96', '320:192'].map(async (size, index) => {
        const path = join(folder, `size-${index}.ts`);
        await ffmpeg(...source(1), '-vf', `scale=${size}`, ...h264, '-output_ts_offset', String(index), path);
        return readFile(path);
      }),
    );
    const path = join(folder, 'sizes.ts');
    await writeFile(path, Buffer.concat(parts));
    await using camera = await openCamera(path, { backend: 'ffmpeg' });
    const failed = await status(camera, 'failed');
    expect(failed.error?.message).toContain('change their size');
  });

  test('over HTTP without a length are played at their own speed and end', async () => {
    const path = join(folder, 'clip.mkv');
    await ffmpeg(...source(2), ...h264, '-f', 'matroska', '-live', '1', path);
    const bytes = await readFile(path);
    const server = createServer((_, response) => {
      response.setHeader('content-type', 'video/x-matroska');
      response.write(bytes); // chunked: no length
      response.end();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    try {
      const reopen = { initialDelayMs: 20, maximumDelayMs: 50 };
      await using camera = await openCamera(`http://127.0.0.1:${port}/clip`, { backend: 'ffmpeg', reopen });
      await status(camera, 'ended');
      expect(await camera.read()).toBeDefined();
      await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_ENDED'));
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

test('a capture process that is stopped is noticed by that, not by the silence', async () => {
  await using camera = await openCamera('test:checker', {
    timeoutMs: 600_000,
    reopen: { initialDelayMs: 20, maximumDelayMs: 50 },
  });
  await camera.read();
  const lost = status(camera, 'reopening');
  process.kill((camera as ManagedCamera).hostPid!, 'SIGSTOP');
  expect((await lost).error?.message).toContain('SIGSTOP');
  await status(camera, 'streaming');
});

describe('a live source', () => {
  const FRAME_MS = 10;
  let stream: Server;
  beforeAll(async () => {
    const picture = await sharp({ create: { width: 160, height: 96, channels: 3, background: '#888' } })
      .jpeg()
      .toBuffer();
    stream = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace;boundary=frame' });
      const timer = setInterval(() => {
        response.write(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${picture.length}\r\n\r\n`);
        response.write(picture);
        response.write('\r\n');
      }, FRAME_MS);
      response.on('close', () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => stream.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => stream.closeAllConnections());

  test.each([
    ['built in', () => 'test:moving'],
    ['through OpenCV', () => `http://127.0.0.1:${(stream.address() as AddressInfo).port}/stream`],
  ])('(%s) has every frame ready for who waits, and few while nobody does', async (_, address) => {
    await using camera = await openCamera(address(), { fps: 1000 / FRAME_MS, frozenTimeoutMs: 0 });
    const SEEN = 8;
    const seen: number[] = [];
    while (seen.length <= SEEN) {
      if (seen.at(-1) !== camera.newestSequence) seen.push(camera.newestSequence);
      await sleep(1);
    }
    // One in 90 ms, of nine; a machine with other work sends fewer.
    expect(seen.at(-1)! - seen[0]!).toBeGreaterThan(2 * SEEN);
    let inARow = 0;
    let before = 0;
    for await (const { sequence } of camera) {
      expect(sequence).toBeGreaterThan(before);
      inARow = sequence === before + 1 ? inARow + 1 : 0;
      before = sequence;
      if (inARow === SEEN) break;
    }
  });
});

test('the pattern with a clock says when each of its pictures was drawn', async () => {
  const BITS = 24;
  const openedAtMs = Date.now();
  await using camera = await openCamera('test:clock', { size: { width: 320, height: 240 }, fps: 30 });
  let before = openedAtMs;
  for (let number = 0; number < 3; number++) {
    const { width, data, capturedAtMs } = await camera.read();
    let code = 0;
    for (let bit = 0; bit < BITS; bit++) code = code * 2 + (data[3 * Math.floor(((bit + 0.5) * width) / BITS)]! >> 7);
    // Of the lowest bits the time that is next to the capture.
    const drawnAtMs = capturedAtMs - ((Math.floor(capturedAtMs) - code + 2 ** BITS) % 2 ** BITS);
    expect(drawnAtMs).toBeGreaterThanOrEqual(before);
    expect(drawnAtMs).toBeLessThanOrEqual(capturedAtMs);
    before = drawnAtMs;
  }
});

test('a folder is seen as decodeImage sees its pictures, and goes on after broken ones', async () => {
  const pictures = join(folder, 'mixed');
  await run('mkdir', [pictures]);
  const gradient = Buffer.from(Array.from({ length: 64 * 48 * 4 }, (_, index) => (index * 7) % 256));
  const rgba = sharp(gradient, { raw: { width: 64, height: 48, channels: 4 } });
  const put = (name: string, bytes: Uint8Array) => writeFile(join(pictures, name), bytes);
  await put(
    '1-turned.webp',
    await rgba.clone().removeAlpha().webp({ lossless: true }).withMetadata({ orientation: 6 }).toBuffer(),
  );
  await put('2-transparent.png', await rgba.clone().png().toBuffer());
  await put('3-cmyk.jpg', await rgba.clone().removeAlpha().toColourspace('cmyk').jpeg().toBuffer());
  const jpeg = await rgba.clone().removeAlpha().jpeg().toBuffer();
  await put('4-without-end.jpg', jpeg.subarray(0, -2));
  await put('5-cut.jpg', jpeg.subarray(0, -200));
  await put('6-text.png', Buffer.from('no picture'));
  await put('10-last.png', await rgba.clone().removeAlpha().png().toBuffer());
  await put('windows.bmp', Buffer.from('BM'));
  const lines: string[] = [];
  await using camera = await openCamera(pictures, { fps: 4, logger: { log: (_, line) => void lines.push(line) } });
  const frames: Frame[] = [];
  for await (const frame of camera) frames.push(frame);
  const names = ['1-turned.webp', '2-transparent.png', '3-cmyk.jpg', '4-without-end.jpg', '10-last.png'];
  const positions = [0, 1, 2, 3, 6].map((index) => index * 250);
  expect(frames.map(({ mediaTimeMs }) => mediaTimeMs)).toEqual(positions);
  for (const [index, name] of names.entries()) {
    const { width, height, data } = await decodeImage(join(pictures, name));
    expect([frames[index]!.width, frames[index]!.height]).toEqual([width, height]);
    expect(meanDifference(frames[index]!, data)).toBe(0);
  }
  const log = lines.join('\n');
  for (const told of [
    '5-cut.jpg is left out',
    '6-text.png is left out',
    '4-without-end.jpg: the file lacks',
    'windows.bmp',
  ]) {
    expect(log).toContain(told);
  }
  expect(log).not.toContain('GLib');
});
