/** Network cameras as they are: see what each of them needs in its test's name. */
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { type Camera, type CameraStatus, openCamera } from '#sdk/capture/index.js';
import type { SdkError } from '#sdk/core/errors.js';
import { httpAnswer, MjpegCamera, ODD_HEADS, picture } from '../../support/mjpeg-camera.js';
import { RtspServer } from '../../support/rtsp-server.js';

const error = (code: string) => expect.objectContaining({ name: 'SdkError', code });
const quick = { reopen: { initialDelayMs: 20, maximumDelayMs: 5000 }, backend: 'ffmpeg' } as const;
const fixture = (name: string) => new URL(`../../fixtures/tls/${name}`, import.meta.url);

async function status(camera: Camera, state: CameraStatus['state']): Promise<CameraStatus> {
  for await (const change of camera.statusChanges()) if (change.state === state) return change;
  throw new Error(`closed before ${state}`);
}
const failureOf = (opening: Promise<unknown>) =>
  opening.then(
    () => undefined,
    (cause: unknown) => cause as SdkError,
  );
const url = ({ port }: MjpegCamera, path = '/s') => `http://127.0.0.1:${port}${path}`;

describe('a camera over HTTP', () => {
  test.each(Object.entries(ODD_HEADS))('is read though its answer has %s, and asked once only', async (_name, head) => {
    await using server = await MjpegCamera.start({ head });
    await using camera = await openCamera(url(server), quick);
    expect(await camera.read()).toMatchObject({ width: 160, height: 120 });
    expect(server.requests).toEqual([expect.not.stringContaining('SceneBus')]);
  });

  test.each([
    ['bigger', [320, 240]],
    ['smaller', [80, 60]],
  ] as const)('that sends %s pictures from some moment on is opened again and gives those', async (_name, second) => {
    await using server = await MjpegCamera.start({ sizes: [[160, 120], second], picturesBeforeResize: 15 });
    await using camera = await openCamera(url(server), quick);
    const lost = status(camera, 'reopening');
    for await (const frame of camera) if (frame.width !== 160) break;
    expect((await lost).error?.message).toContain('another size');
    expect(await camera.read()).toMatchObject({ width: second[0], height: second[1] });
  });

  test('with one place, free some time after a client has left, is opened and comes back', async () => {
    await using server = await MjpegCamera.start({ releaseMs: 600 });
    await using camera = await openCamera(url(server), quick);
    await camera.read();
    const lost = status(camera, 'reopening');
    server.dropAll();
    await lost;
    await status(camera, 'streaming');
    expect(server.requests.filter((request) => request.includes('SceneBus'))).toEqual([]);
  });

  test('that answers with a page while it starts is tried again, and given up only when told so', async () => {
    const answer = (_: string, count: number) => (count <= 4 ? httpAnswer('text/html', '<p>starting</p>') : undefined);
    await using server = await MjpegCamera.start({ answer });
    await using camera = await openCamera(url(server), { ...quick, requireFirstFrame: false });
    expect((await status(camera, 'reopening')).error).toEqual(error('ERR_CAPTURE_UNSUPPORTED'));
    await status(camera, 'streaming');

    await using page = await MjpegCamera.start({ answer: () => httpAnswer('text/html', '<p>') });
    const reopen = { ...quick.reopen, attempts: 1 };
    await using given = await openCamera(url(page), { ...quick, reopen, requireFirstFrame: false });
    expect((await status(given, 'failed')).error?.message).toContain('That is a page');
  });

  test('is reached directly, whatever proxy the environment names', async () => {
    await using server = await MjpegCamera.start();
    process.env.http_proxy = 'http://127.0.0.1:9';
    try {
      await using camera = await openCamera(url(server), quick);
      expect((await camera.read()).width).toBe(160);
    } finally {
      delete process.env.http_proxy;
    }
  });

  test.each(['found out', 'told', 'with a Digest login'])(
    'that gives single pictures is asked again and again: %s',
    async (how) => {
      const jpegs = await Promise.all([picture(64, 48, 30), picture(64, 48, 220)]);
      let given = 0; // a login asks twice for each picture
      const answer = (request: string) => {
        if (how === 'with a Digest login' && !/^authorization: Digest .*username="viewer".*qop=auth/im.test(request)) {
          return httpAnswer(
            'text/plain',
            '',
            '401 Unauthorized',
            'WWW-Authenticate: Digest realm="cam", nonce="n1", qop="auth"\r\n',
          );
        }
        return httpAnswer('image/jpeg', jpegs[given++ % 2]!);
      };
      await using server = await MjpegCamera.start({ answer });
      const address = how === 'with a Digest login' ? url(server).replace('//', '//viewer:s3cret@') : url(server);
      const options = how === 'found out' ? {} : { snapshotIntervalMs: 50 };
      await using camera = await openCamera(address, { ...quick, ...options });
      const levels = new Set<boolean>();
      for await (const frame of camera) if (levels.add(frame.data[0]! > 120).size === 2) break;
      expect(camera.info.backend).toBe('snapshots');
    },
  );

  test('that is down is not waited for by who does not want to', async () => {
    const server = await MjpegCamera.start();
    const reopen = { initialDelayMs: 60_000, maximumDelayMs: 60_000 };
    await using camera = await openCamera(url(server), { ...quick, reopen, readTimeoutMs: 600_000 });
    await camera.read();
    const waiting = (async () => {
      for (;;) await camera.read({ whileDown: 'reject' });
    })();
    await server[Symbol.asyncDispose]();
    await expect(waiting).rejects.toMatchObject({
      retryable: true,
      message: expect.stringContaining('being reopened'),
    });
    await expect(camera.read({ whileDown: 'reject' })).rejects.toMatchObject({ retryable: true });
  });

  test('keeps the age of its last frame while it is away', async () => {
    const server = await MjpegCamera.start();
    const reopen = { initialDelayMs: 60_000, maximumDelayMs: 60_000 };
    await using camera = await openCamera(url(server), { ...quick, reopen });
    const frame = await camera.read();
    const lost = status(camera, 'reopening');
    await server[Symbol.asyncDispose]();
    await lost;
    expect(camera.newestFrameAtMonotonicMs).toBeGreaterThanOrEqual(frame.capturedAtMonotonicMs!);
    expect(camera.newestFrameAtMs).toBeGreaterThanOrEqual(frame.capturedAtMs);
  });
});

describe('the certificate of a camera', () => {
  const tls = { key: readFileSync(fixture('server.key')), cert: readFileSync(fixture('server.pem')) };
  const fingerprint = 'E8:2E:55:DC:B7:20:30:59:93:31:B8:65:E8:C7:85:3B:00:56:C4:F8:98:54:C5:04:4C:61:3C:BD:85:C6:5C:50';
  const caFile = fixture('ca.pem').pathname;

  /** Over HTTPS and RTSPS: the same rule for both. */
  const servers = {
    async https() {
      const server = await MjpegCamera.start({ tls });
      return { address: url(server, '/s').replace('http:', 'https:'), close: () => server[Symbol.asyncDispose]() };
    },
    async rtsps() {
      const inner = new RtspServer({ codec: 'jpeg' });
      await inner.listen();
      const outer = createTlsServer(tls, (socket) => {
        const plain = connectTcp(inner.port, '127.0.0.1');
        socket.pipe(plain).pipe(socket);
        for (const one of [socket, plain]) one.on('error', () => {});
      });
      await new Promise<void>((resolve) => outer.listen(0, '127.0.0.1', resolve));
      const { port } = outer.address() as { port: number };
      const close = async () => {
        await inner.close();
        outer.close();
      };
      return { address: `rtsps://127.0.0.1:${port}/main`, close };
    },
  };

  test.each(['https', 'rtsps'] as const)('%s: must be valid unless it is named or all are taken', async (kind) => {
    const { address, close } = await servers[kind]();
    try {
      const refused = await failureOf(openCamera(address, quick));
      expect(refused).toEqual(error('ERR_CAPTURE_REFUSED'));
      expect(refused?.message).toContain(fingerprint); // ready to be copied
      const wrong = fingerprint.replace('E8', '00');
      expect((await failureOf(openCamera(address, { ...quick, tls: { fingerprint: wrong } })))?.message).toContain(
        fingerprint,
      );
      for (const allowed of [
        { fingerprint },
        { fingerprint: fingerprint.replaceAll(':', '').toLowerCase() },
        { caFile },
        { verify: false },
      ]) {
        await using camera = await openCamera(address, { ...quick, tls: allowed });
        expect((await camera.read()).data.length).toBeGreaterThan(0);
      }
    } finally {
      await close();
    }
  });

  test('is an option of cameras that have one', async () => {
    await expect(openCamera('http://127.0.0.1:9/', { tls: { verify: false } })).rejects.toEqual(
      error('ERR_ARGUMENT_INVALID'),
    );
    await expect(openCamera('0', { snapshotIntervalMs: 500 })).rejects.toEqual(error('ERR_ARGUMENT_INVALID'));
  });
});

test('an RTSP source that starts on demand is not asked before OpenCV asks', async () => {
  await using server = new RtspServer({ codec: 'h264', describeDelayMs: 1500 });
  await server.listen();
  await using camera = await openCamera(`rtsp://127.0.0.1:${server.port}/main`, quick);
  await camera.read();
  expect(server.userAgents.filter((agent) => agent === 'SceneBus')).toEqual([]);
});

test('a wrong address makes a failed camera where a first frame is not required', async () => {
  await using camera = await openCamera('rtsp://admin:pa/ss@host/x', { requireFirstFrame: false });
  expect(camera.status).toMatchObject({ state: 'failed', error: { code: 'ERR_CAPTURE_ADDRESS_INVALID' } });
  expect(camera.status.error?.message).toContain('write %2F');
  await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_ADDRESS_INVALID'));
  expect(JSON.stringify([camera.info, String(camera.status.error)])).not.toContain('ss@');
});
