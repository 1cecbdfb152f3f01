import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCamera } from '#sdk/capture/index.js';
import type { Frame } from '#sdk/core/types.js';
import { makeClip, makePictures } from './media.js';

let folder: string;
let h264: string;
let mjpeg: string;
let pictures: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-capture-'));
  h264 = await makeClip(join(folder, 'clip.mp4'), { codec: 'libx264' });
  mjpeg = await makeClip(join(folder, 'clip.avi'), { codec: 'mjpeg' });
  pictures = await makePictures(join(folder, 'pictures'), 11);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** BGR of a pixel. */
const pixel = ({ data, width }: Frame, x: number, y: number) => [
  ...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];
const error = (code: string) => expect.objectContaining({ name: 'SdkError', code });

describe.each([
  ['H.264 in MP4', () => h264],
  ['MJPEG in AVI', () => mjpeg],
])('a video file, %s', (_name, path) => {
  test('plays once in real time, gives whole BGR frames with media times, and ends', async () => {
    await using camera = await openCamera(path());
    expect(camera.info).toMatchObject({
      kind: 'file',
      size: { width: 320, height: 180 },
      backend: 'FFMPEG',
      framesPerSecond: 10,
    });
    const times: number[] = [];
    const sequences: number[] = [];
    for await (const frame of camera) {
      expect(frame).toMatchObject({ width: 320, height: 180, format: 'bgr8' });
      expect(frame.data.length).toBe(320 * 180 * 3);
      // Luma 16 is black in BGR, and luma rises by 40 a second.
      const grey = pixel(frame, 80, 90)[1]!;
      const expected = (1.164 * 40 * frame.mediaTimeMs!) / 1000;
      expect(Math.abs(grey - expected)).toBeLessThan(8);
      expect(pixel(frame, 240, 90)[0]).toBeGreaterThan(225);
      times.push(frame.mediaTimeMs!);
      sequences.push(frame.sequence);
    }
    // The newest frame wins: on a loaded machine the first that is seen need not be the first.
    expect(times[0]).toBeCloseTo(100 * (sequences[0]! - 1), 0);
    expect(times.every((time, index) => index === 0 || time > times[index - 1]!)).toBe(true);
    expect(camera.status.state).toBe('ended');
    await expect(camera.read()).resolves.toBeDefined(); // the last frame is still new to this reader
    await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_ENDED'));
  });

  test('starts again when it loops, with sequence numbers that go on', async () => {
    await using camera = await openCamera(`file:${path()}?loop`, { timeoutMs: 5000 });
    let last: Frame | undefined;
    for await (const frame of camera) {
      if (last && frame.mediaTimeMs! < last.mediaTimeMs!) {
        expect(frame.sequence).toBeGreaterThan(last.sequence);
        return;
      }
      last = frame;
    }
    expect.unreachable('the clip ended');
  });
});

describe('size, rate and rotation', () => {
  test.each([
    [0, [320, 180], [80, 90], [240, 90]],
    [90, [180, 320], [90, 80], [90, 240]],
    [180, [320, 180], [240, 90], [80, 90]],
    [270, [180, 320], [90, 240], [90, 80]],
  ] as const)('turns by %i degrees clockwise', async (rotation, size, dark, bright) => {
    await using camera = await openCamera(mjpeg, { rotation });
    const frame = await camera.read();
    expect([frame.width, frame.height]).toEqual(size);
    expect(pixel(frame, dark[0], dark[1])[0]).toBeLessThan(120);
    expect(pixel(frame, bright[0], bright[1])[0]).toBeGreaterThan(220);
  });

  test('scales down to fit the size after rotation, proportions kept', async () => {
    await using camera = await openCamera(mjpeg, { rotation: 90, size: { width: 90, height: 1000 } });
    const frame = await camera.read();
    expect([frame.width, frame.height]).toEqual([90, 160]);
    expect(camera.info.size).toEqual({ width: 90, height: 160 });
  });

  test('never enlarges', async () => {
    await using camera = await openCamera(mjpeg, { size: { width: 1280, height: 720 } });
    expect((await camera.read()).width).toBe(320);
  });

  test('skips frames beyond the rate that was asked for, and counts them', async () => {
    await using camera = await openCamera(mjpeg, { fps: 2 });
    const frames: Frame[] = [];
    for await (const frame of camera) frames.push(frame);
    expect(frames.length).toBeLessThanOrEqual(5);
    expect(frames.at(-1)!.sequence).toBeGreaterThan(10);
  });
});

describe('a folder of pictures', () => {
  test('gives them in natural order of their names', async () => {
    await using camera = await openCamera(pictures, { fps: 20 });
    expect(camera.info).toMatchObject({ kind: 'images', backend: 'sharp', size: { width: 64, height: 48 } });
    let last = 0;
    for await (const frame of camera) {
      const [blue, green, red] = pixel(frame, 10, 10);
      expect([green, red]).toEqual([0, 200]);
      expect(blue).toBe(20 * frame.sequence); // shot-10 after shot-9
      last = frame.sequence;
    }
    expect(last).toBe(11);
  });

  test('comes as rgb8 in memory that is used again, for who asks', async () => {
    await using camera = await openCamera(pictures, { fps: 20 });
    const memories = new Set<ArrayBufferLike>();
    for await (const frame of camera.frames({ format: 'rgb8', reuseMemory: true })) {
      expect(frame.format).toBe('rgb8');
      expect(pixel(frame, 10, 10)).toEqual([200, 0, 20 * frame.sequence]);
      memories.add(frame.data.buffer);
    }
    expect(memories.size).toBe(1);
    const odd = camera.frames({ format: 'nv12' as never })[Symbol.asyncIterator]();
    await expect(odd.next()).rejects.toEqual(error('ERR_ARGUMENT_INVALID'));
  });

  test('takes pictures of growing size and passes over one that is broken', async () => {
    const mixed = join(folder, 'mixed');
    await makePictures(mixed, 1);
    await writeFile(join(mixed, 'shot-2.jpg'), 'no picture');
    await sharp({ create: { width: 640, height: 400, channels: 3, background: 'white' } }).toFile(
      join(mixed, 'shot-3.webp'),
    );
    await using camera = await openCamera(mixed, { fps: 20 });
    const sizes = new Set<number>();
    for await (const frame of camera) sizes.add(frame.width);
    expect(sizes.has(640)).toBe(true);
  });

  test('says when there is none', async () => {
    await expect(openCamera(await makePictures(join(folder, 'none'), 0))).rejects.toEqual(
      error('ERR_CAPTURE_NOT_FOUND'),
    );
  });
});

describe('HTTP', () => {
  let server: Server;
  let base: string;

  beforeAll(async () => {
    const jpegs = await Promise.all(
      [40, 200].map((level) =>
        sharp({ create: { width: 160, height: 120, channels: 3, background: { r: level, g: level, b: level } } })
          .jpeg()
          .toBuffer(),
      ),
    );
    server = createServer((request, response) => {
      if (request.url === '/page') return response.setHeader('content-type', 'text/html').end('<html>');
      if (request.url === '/locked') return response.writeHead(401).end();
      if (request.url === '/clip.avi') {
        response.setHeader('content-type', 'video/x-msvideo');
        return createReadStream(mjpeg).pipe(response);
      }
      if (request.url !== '/stream') return response.writeHead(404).end();
      response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=frame' });
      let count = 0;
      const timer = setInterval(() => {
        const jpeg = jpegs[count++ % 2]!;
        response.write(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`);
        response.write(jpeg);
        response.write('\r\n');
      }, 40);
      response.on('close', () => clearInterval(timer));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  test('reads an MJPEG stream', async () => {
    await using camera = await openCamera(`${base}/stream`);
    expect(camera.info).toMatchObject({ kind: 'http', size: { width: 160, height: 120 } });
    const levels = new Set<string>();
    for await (const frame of camera) {
      levels.add(pixel(frame, 80, 60)[0]! < 120 ? 'dark' : 'bright');
      if (levels.size === 2) return;
    }
  });

  test('plays a clip that a web server holds in real time, to its end', async () => {
    await using camera = await openCamera(`${base}/clip.avi`);
    const first = await camera.read();
    let last = first;
    for await (const frame of camera) last = frame;
    expect(last.mediaTimeMs).toBeGreaterThan(1700);
    // A frame is at most a second behind its time, or the clock is set anew: so much is certain on any machine.
    const playedMs = last.mediaTimeMs! - first.mediaTimeMs!;
    expect(last.capturedAtMs - first.capturedAtMs).toBeGreaterThan(playedMs - 1100);
    expect(camera.status.state).toBe('ended');
  });

  test.each([
    ['/page', 'ERR_CAPTURE_UNSUPPORTED'],
    ['/locked', 'ERR_CAPTURE_REFUSED'],
    ['/nothing', 'ERR_CAPTURE_NOT_FOUND'],
  ])('tells what is wrong with %s', async (path, code) => {
    await expect(openCamera(base + path)).rejects.toEqual(error(code));
  });
});

test('opens a pipeline where OpenCV has GStreamer', async ({ skip }) => {
  const camera = await openCamera('test:gstreamer', { size: { width: 320, height: 240 }, fps: 15 }).catch((cause) => {
    if ((cause as { code?: string }).code === 'ERR_CAPTURE_UNSUPPORTED') skip('this OpenCV has no GStreamer');
    throw cause;
  });
  await using _ = camera;
  expect(camera.info).toMatchObject({ backend: 'GSTREAMER', framesPerSecond: 15, size: { width: 320, height: 240 } });
  const first = await camera.read();
  expect((await camera.read()).sequence).toBeGreaterThan(first.sequence);
  // videotestsrc's colour bars: the first is white, the fourth green.
  expect(pixel(first, 10, 10).every((value) => value > 180)).toBe(true);
});

describe('sources that cannot be opened', () => {
  test('a device that is not there', async () => {
    await expect(openCamera('/dev/video99')).rejects.toThrow(/\/dev\/video99.*ls \/dev\/video/);
    await expect(openCamera('99')).rejects.toEqual(error('ERR_CAPTURE_NOT_FOUND'));
  });

  test('a path with nothing there', async () => {
    await expect(openCamera(join(folder, 'missing.mp4'))).rejects.toEqual(error('ERR_CAPTURE_NOT_FOUND'));
  });

  test('a file that is no video, an empty one, and one with a codec that nobody knows', async () => {
    const text = join(folder, 'text.mp4');
    await writeFile(text, 'this is no video\n'.repeat(1000));
    await expect(openCamera(text)).rejects.toThrow(/ffmpeg -i INPUT/);
    await expect(openCamera(text)).rejects.toEqual(error('ERR_CAPTURE_UNSUPPORTED'));

    const empty = join(folder, 'empty.mp4');
    await writeFile(empty, '');
    await expect(openCamera(empty)).rejects.toEqual(error('ERR_CAPTURE_UNSUPPORTED'));

    const { readFile } = await import('node:fs/promises');
    const odd = join(folder, 'odd.avi');
    const bytes = (await readFile(mjpeg)).toString('latin1').replaceAll('MJPG', 'Q0Q0');
    await writeFile(odd, Buffer.from(bytes, 'latin1'));
    await expect(openCamera(odd)).rejects.toEqual(error('ERR_CAPTURE_UNSUPPORTED'));
  });

  test('RTSP on a closed port, without showing the password', async () => {
    const probe = createTcpServer();
    await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done));
    const { port } = probe.address() as AddressInfo;
    await new Promise((done) => probe.close(done));
    const failure = await openCamera(`rtsp://admin:s3cret-pw@127.0.0.1:${port}/main`).catch((cause: unknown) => cause);
    expect(failure).toEqual(error('ERR_CAPTURE_REFUSED'));
    expect(String(failure)).toContain(`rtsp://***@127.0.0.1:${port}/main`);
    expect(JSON.stringify([failure, String(failure), (failure as Error).stack])).not.toMatch(/s3cret-pw|admin/);
  });

  test('a CSI camera where there is none', async () => {
    await expect(openCamera('csi:0')).rejects.toEqual(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_CAPTURE_(?:NOT_FOUND|UNSUPPORTED)$/) }),
    );
  });
});
