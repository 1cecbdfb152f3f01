import { describe, expect, test } from 'vitest';
import type { NativeVideoDevice } from '#sdk/capture/host/capture-addon.js';
import { explainFailure } from '#sdk/capture/host/explain.js';
import { planCapture, type ResolvedAddress } from '#sdk/capture/host/plan.js';
import { checkDevice, resolveAddress } from '#sdk/capture/host/resolve.js';
import { cameraOptionsSchema } from '#sdk/capture/index.js';

const all = { openCvVersion: '4.8.0', gstreamer: true, ffmpeg: true, v4l2: true, gstreamerH264: true, jetson: true };

describe('a V4L2 device', () => {
  const states: [NativeVideoDevice['state'], string | undefined, RegExp][] = [
    ['missing', 'ERR_CAPTURE_NOT_FOUND', /ls \/dev\/video/],
    ['denied', 'ERR_CAPTURE_REFUSED', /usermod -aG video/],
    ['busy', 'ERR_CAPTURE_REFUSED', /another program/],
    ['noCapture', 'ERR_CAPTURE_UNSUPPORTED', /UVC Cam.*number below/],
    ['notVideo', 'ERR_CAPTURE_UNSUPPORTED', /something else/],
    ['failed', 'ERR_CAPTURE_LOST', /Input\/output error/],
  ];
  test.each(states)('that is %s gets advice of its own', (state, code, message) => {
    const device = { state, card: 'UVC Cam', message: 'Input/output error' };
    expect(() => checkDevice('/dev/video7', device)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
    expect(() => checkDevice('/dev/video7', device)).toThrow('/dev/video7');
  });

  test('that is ready passes', () => {
    expect(checkDevice('/dev/video0', { state: 'ready', card: 'UVC Cam', message: '' })).toBeUndefined();
  });
});

describe('a link to a device', () => {
  const tools = (target: string) => ({
    probeVideoDevice: () => ({ state: 'ready', card: 'UVC Cam', message: '' }) as const,
    realpath: async () => target,
  });
  const link = { kind: 'v4l2', device: '/dev/camera_front' } as const;

  test('is followed to the number that it has now', async () => {
    expect(await resolveAddress(link, undefined, tools('/dev/video7'))).toEqual({
      kind: 'v4l2',
      device: '/dev/video7',
    });
  });

  test('must lead to a video device', async () => {
    await expect(resolveAddress(link, undefined, tools('/dev/sda'))).rejects.toMatchObject({
      code: 'ERR_CAPTURE_UNSUPPORTED',
      message: expect.stringContaining('leads to /dev/sda'),
    });
  });
});

describe('a failure that OpenCV reports', () => {
  const explain = (address: ResolvedAddress, code: string, message = 'FFMPEG: could not open it') =>
    explainFailure(
      {
        type: 'failed',
        code,
        message,
        ringName: '',
        width: 0,
        height: 0,
        framesPerSecond: 0,
        isPaced: false,
        backend: '',
        pictureHash: '',
        frames: 0,
      },
      address,
      planCapture(address, cameraOptionsSchema.parse({}), all),
    );

  test.each<[ResolvedAddress, string, RegExp]>([
    [
      { kind: 'file', path: '/a.mp4', loop: false },
      'ERR_CAPTURE_UNSUPPORTED',
      /\/a\.mp4.*could not open it.*ffmpeg -i/,
    ],
    [{ kind: 'rtsp', url: 'rtsp://u:secret@cam/' }, 'ERR_CAPTURE_REFUSED', /rtsp:\/\/\*\*\*@cam\/.*password and path/],
    [{ kind: 'http', url: 'http://cam/s' }, 'ERR_CAPTURE_UNSUPPORTED', /MJPEG, MPEG-TS.*type image\/jpeg/],
    [{ kind: 'csi', sensor: 0 }, 'ERR_CAPTURE_NOT_FOUND', /nvargus-daemon/],
    [{ kind: 'v4l2', device: '/dev/video0' }, 'ERR_CAPTURE_REFUSED', /fuser \/dev\/video0/],
  ])('to open %j says what to do', (address, code, message) => {
    const error = explain(address, 'ERR_CAPTURE_UNSUPPORTED');
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(error.message).not.toContain('secret');
  });

  test('for lack of shared memory says how to get more', () => {
    const error = explain({ kind: 'csi', sensor: 0 }, 'ERR_LIMIT_EXCEEDED', 'shared memory: No space left on device');
    expect(error).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED', message: expect.stringContaining('--shm-size') });
  });

  test('with a code that is not in the table becomes a loss', () => {
    expect(explain({ kind: 'csi', sensor: 0 }, 'ERR_ODD').code).toBe('ERR_CAPTURE_LOST');
  });
});
