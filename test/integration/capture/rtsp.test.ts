import { describe, expect, test } from 'vitest';
import { type Camera, type CameraStatus, openCamera } from '#sdk/capture/index.js';
import { RtspServer } from '../../support/rtsp-server.js';

const error = (code: string) => expect.objectContaining({ name: 'SdkError', code });

async function serve(options: ConstructorParameters<typeof RtspServer>[0]): Promise<RtspServer> {
  const server = new RtspServer(options);
  await server.listen();
  return server;
}

async function status(camera: Camera, state: CameraStatus['state']): Promise<CameraStatus> {
  for await (const change of camera.statusChanges()) if (change.state === state) return change;
  throw new Error(`closed before ${state}`);
}

describe('an RTSP camera', () => {
  test.each([
    ['h264', 'auto'],
    ['jpeg', 'ffmpeg'],
    ['jpeg', 'gstreamer'],
  ] as const)('is read (%s, backend %s)', async (codec, backend) => {
    await using server = await serve({ codec, credentials: 'admin:s3cret-pw' });
    const lines: string[] = [];
    const logger = { log: (_level: string, message: string) => void lines.push(message) };
    const address = `rtsp://admin:s3cret-pw@127.0.0.1:${server.port}/main`;
    await using camera = await openCamera(address, { logger, backend });
    expect(camera.info).toMatchObject({
      kind: 'rtsp',
      address: `rtsp://***@127.0.0.1:${server.port}/main`,
      size: { width: 320, height: 240 },
    });
    const first = await camera.read();
    expect(new Set(first.data).size).toBeGreaterThan(50); // testsrc2 is colourful
    expect((await camera.read()).sequence).toBeGreaterThan(first.sequence);
    expect(lines.join('\n')).not.toMatch(/s3cret-pw|admin/);
  });

  test('comes back by itself after it was gone', async () => {
    await using server = await serve({ codec: 'h264' });
    const { port } = server;
    await using camera = await openCamera(`rtsp://127.0.0.1:${port}/main`, {
      backend: 'ffmpeg',
      timeoutMs: 5000,
      reopen: { initialDelayMs: 50, maximumDelayMs: 200 },
    });
    const before = await camera.read();
    const lost = status(camera, 'reopening');
    await server.close();
    expect((await lost).error?.retryable).toBe(true);
    await server.listen(port);
    await status(camera, 'streaming');
    expect((await camera.read()).sequence).toBeGreaterThan(before.sequence);
  });

  test('says what is wrong with user, password or path', async () => {
    await using server = await serve({ codec: 'h264', credentials: 'admin:s3cret-pw' });
    const at = (userInfo: string, path = 'main') => openCamera(`rtsp://${userInfo}127.0.0.1:${server.port}/${path}`);
    await expect(at('')).rejects.toThrow(/answered 401.*Write user name and password/);
    const wrong = await at('admin:wr0ng-pw@').catch((cause: unknown) => cause);
    expect(wrong).toEqual(error('ERR_CAPTURE_REFUSED'));
    expect(JSON.stringify(wrong) + String(wrong)).not.toMatch(/wr0ng-pw|admin/);

    await using open = await serve({ codec: 'h264' });
    await expect(openCamera(`rtsp://127.0.0.1:${open.port}/nothing`)).rejects.toEqual(error('ERR_CAPTURE_NOT_FOUND'));
  });
});
