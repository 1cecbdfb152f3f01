import { describe, expect, test } from 'vitest';
import { cameraOptionsSchema, openCamera, reopenSchema } from '#sdk/capture/index.js';
import { reopenDelayMs, reopenSettings } from '#sdk/capture/reopening.js';
import { SdkError } from '#sdk/core/errors.js';

describe('camera options', () => {
  test.each([
    [{ rotation: 45 }],
    [{ fps: 0 }],
    [{ size: { width: 0, height: 720 } }],
    [{ size: { width: 99_999, height: 720 } }],
    [{ id: 'a/b' }],
    [{ ringSlots: 2 }],
    [{ resolution: 'hd' }],
  ])('refuses %j', async (options) => {
    await expect(openCamera('test:checker', options as never)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }),
    );
  });
});

describe('reopening', () => {
  const settings = cameraOptionsSchema.parse({});
  const loss = (code: ConstructorParameters<typeof SdkError>[0]) => new SdkError(code, code);
  const camera = { kind: 'rtsp', loop: false, everStreamed: false } as const;
  const clip = { kind: 'file', loop: false, everStreamed: true } as const;

  test.each([
    ['a camera that is not there yet', camera, 'ERR_CAPTURE_NOT_FOUND', true],
    ['a camera that refuses', camera, 'ERR_CAPTURE_REFUSED', true],
    ['a network camera that answers oddly, as at boot', camera, 'ERR_CAPTURE_UNSUPPORTED', true],
    ['a device that is no camera', { ...camera, kind: 'v4l2' }, 'ERR_CAPTURE_UNSUPPORTED', false],
    ['a camera that worked and answers oddly', { ...camera, everStreamed: true }, 'ERR_CAPTURE_UNSUPPORTED', true],
    ['a machine without OpenCV', camera, 'ERR_NATIVE_UNAVAILABLE', false],
    ['a clip whose host died', clip, 'ERR_CAPTURE_HOST_DIED', false],
    ['a looping clip whose host died', { ...clip, loop: true }, 'ERR_CAPTURE_HOST_DIED', true],
    ['a looping clip that was deleted', { ...clip, loop: true }, 'ERR_CAPTURE_LOST', false],
  ] as const)('%s', (_name, facts, code, expected) => {
    expect(reopenSettings(settings, facts, loss(code)) !== undefined).toBe(expected);
    expect(reopenSettings({ ...settings, reopen: false }, facts, loss(code))).toBeUndefined();
  });

  test('is not tried for what this machine lacks', () => {
    const lacking = new SdkError('ERR_CAPTURE_UNSUPPORTED', 'no GStreamer', { details: { isLacking: true } });
    expect(reopenSettings(settings, { ...camera, everStreamed: true }, lacking)).toBeUndefined();
  });

  test('pauses for a quarter of the time that the camera is away, within the two limits, with jitter', () => {
    const reopen = reopenSchema.parse({ initialDelayMs: 100, maximumDelayMs: 5000 });
    const pause = (awayMs: number) => reopenDelayMs(reopen, awayMs, undefined, () => 0.5);
    expect([0, 400, 4000, 12_000, 60_000].map(pause)).toEqual([100, 100, 1000, 3000, 5000]);
    expect(reopenDelayMs(reopen, 0, undefined, () => 0)).toBe(75);
    expect(reopenDelayMs(reopen, 0, undefined, () => 1)).toBe(125);
  });

  test('waits long after a refused login, for cameras lock accounts', () => {
    const refused = new SdkError('ERR_CAPTURE_REFUSED', 'wrong password', { details: { status: 401 } });
    expect(reopenDelayMs(reopenSchema.parse({}), 0, refused, () => 0.5)).toBe(60_000);
  });
});
