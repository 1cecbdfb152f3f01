import { utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CameraLens, formatCameraInfo, type GroundedObject } from 'scenebus';
import { expect, test } from 'vitest';
import { CameraPlaces } from '#device/features/camera-places.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const LENS: CameraLens = {
  width: 640,
  height: 480,
  fx: 500,
  fy: 500,
  cx: 319.5,
  cy: 239.5,
  distortionModel: 'plumb_bob',
  distortion: [0, 0, 0, 0, 0],
};
const CUP: GroundedObject = {
  label: 'cup',
  box: { x1: 0.7, y1: 0.6, x2: 0.8, y2: 0.8 },
  boxPixels: [448, 288, 512, 384],
  score: 0.9,
  source: 'text',
};
const FRAME = { width: 640, height: 480 };

test('reads a calibration again when the file has changed, says what is wrong with it, and forgets that when it is mended', async () => {
  const wrong = new Map<string, unknown>();
  const places = new CameraPlaces({
    report: (part, error) => void wrong.set(part, error),
    clear: (part) => void wrong.delete(part),
  });
  const file = join(await makeTemporaryFolder('scenebus-places-'), 'front.json');
  let version = 0;
  const write = (text: string) => {
    writeFileSync(file, text);
    utimesSync(file, ++version, version);
  };
  const camera = { id: 'front', intrinsics: file, mounting: undefined };
  const azimuth = async () => (await places.locate(camera, FRAME, [CUP]))[0]?.bearing?.azimuthDegrees;

  write(formatCameraInfo(LENS, 'front', 'json'));
  expect(await azimuth()).toBeCloseTo((-Math.atan(160 / 500) * 180) / Math.PI, 6);
  write(formatCameraInfo({ ...LENS, fx: 250 }, 'front', 'json'));
  expect(await azimuth()).toBeCloseTo((-Math.atan(160 / 250) * 180) / Math.PI, 6);
  write('{');
  expect(await azimuth()).toBeUndefined();
  expect(wrong.get('intrinsics/front')).toMatchObject({
    code: 'ERR_CONFIG_INVALID',
    message: expect.stringMatching(/camera front have no bearings.*does not parse/s),
  });
  write(formatCameraInfo(LENS, 'front', 'json'));
  expect(await azimuth()).toBeCloseTo((-Math.atan(160 / 500) * 180) / Math.PI, 6);
  expect(wrong.size).toBe(0);

  // A picture of half the size shows the same; one of another shape is of nobody knows which part.
  expect((await places.locate(camera, { width: 320, height: 240 }, [CUP]))[0]?.bearing?.azimuthDegrees).toBeCloseTo(
    (-Math.atan(160 / 500) * 180) / Math.PI,
    6,
  );
  expect(await places.locate(camera, { width: 640, height: 360 }, [CUP])).toEqual([CUP]);
  expect(wrong.has('intrinsics/front')).toBe(true);
  expect(await places.locate({ ...camera, intrinsics: undefined }, FRAME, [CUP])).toEqual([CUP]);
  expect(wrong.size).toBe(0);
});
