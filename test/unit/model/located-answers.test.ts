/** Answers about pictures of a calibrated camera. */
import { expect, test } from 'vitest';
import type { CameraLens, CameraMounting } from '#sdk/geometry/index.js';
import type { GenerateOptions } from '#sdk/model/types.js';
import { createFakeModel, plainImage } from '../../support/model.js';

/** For pictures of 100 × 50, looking straight ahead. */
const LENS: CameraLens = {
  width: 100,
  height: 50,
  fx: 100,
  fy: 100,
  cx: 49.5,
  cy: 24.5,
  distortionModel: 'plumb_bob',
  distortion: [0, 0, 0, 0, 0],
};
const MOUNTING: CameraMounting = { heightMetres: 1, angleSigmaDegrees: 0 };
/** Pixels 40 to 60 by 20 to 40: its middle is 5 pixels below the axis, its lower edge 15. */
const WRITES = '[{"label":"cup","box":[40,20,60,40]},{"label":"lamp","box":[0,0,20,10]}]';
const picture = plainImage(1, 100, 50);

test('ask, describe and streams give bearings and floor points', async () => {
  const { model } = await createFakeModel({ writes: WRITES });
  const camera = { lens: LENS, mounting: MOUNTING };
  const content = [{ type: 'image', image: picture } as const, { type: 'text', text: 'Where?' } as const];
  const answers = [
    await model.ask(picture, 'Where is the cup?', { camera }),
    await model.describe(picture, { camera }),
    await model.generate({ messages: [{ role: 'user', content }] }, { camera }).collect(),
  ];
  for (const { objects } of answers) {
    const [cup, lamp] = objects;
    expect(cup!.bearing!.azimuthDegrees).toBeCloseTo(0, 6);
    expect(cup!.bearing!.elevationDegrees).toBeCloseTo((-Math.atan(0.05) * 180) / Math.PI, 6);
    expect(cup!.bearing!.frame).toBe('base');
    expect(cup!.floor!.xMetres).toBeCloseTo(1 / 0.15, 6);
    expect(cup!.floor!.yMetres).toBeCloseTo(0, 6);
    // Left of the axis, above the horizon: no floor.
    expect(lamp!.bearing!.azimuthDegrees).toBeGreaterThan(20);
    expect(lamp).not.toHaveProperty('floor');
  }
  const axisOnly = await model.ask(picture, 'Where is the cup?', { camera: { lens: LENS } });
  expect(axisOnly.objects[0]!.bearing!.frame).toBe('camera');
  expect(axisOnly.objects[0]).not.toHaveProperty('floor');
  const none = await model.ask(picture, 'Where is the cup?');
  expect(none.objects[0]).not.toHaveProperty('bearing');
});

test('a calibration for pictures of another shape is refused before anything is asked', async () => {
  const { model, engine } = await createFakeModel({ writes: WRITES });
  const camera = { lens: { ...LENS, width: 640, height: 480 } };
  await expect(model.ask(picture, 'Where?', { camera })).rejects.toMatchObject({
    code: 'ERR_CONFIG_INVALID',
    message: expect.stringContaining('640×480'),
  });
  expect(engine.encoded).toHaveLength(0);
  // Scaled as a whole it fits.
  const scaled = { ...LENS, width: 200, height: 100, fx: 200, fy: 200, cx: 99.5, cy: 49.5 };
  const { objects } = await model.ask(picture, 'Where is the cup?', { camera: { lens: scaled } });
  expect(objects[0]!.bearing!.elevationDegrees).toBeCloseTo((-Math.atan(0.05) * 180) / Math.PI, 6);
});

test.each<[string, unknown, string]>([
  ['no object', 'front.yaml', 'camera'],
  ['no lens', { mounting: MOUNTING }, 'camera.lens'],
  ['a focal length of 0', { lens: { ...LENS, fx: 0 } }, 'camera.lens.fx'],
  ['a lens with NaN', { lens: { ...LENS, cy: Number.NaN } }, 'camera.lens.cy'],
  ['too few coefficients', { lens: { ...LENS, distortion: [0] } }, 'camera.lens.distortion'],
  ['an unknown model', { lens: { ...LENS, distortionModel: 'mirror' } }, 'camera.lens.distortionModel'],
  ['a mounting without height', { lens: LENS, mounting: {} }, 'camera.mounting.heightMetres'],
  ['a misspelled angle', { lens: LENS, mounting: { ...MOUNTING, pitch: 3 } }, 'camera.mounting'],
])('%s is refused by its place', async (_, camera, place) => {
  const { model, engine } = await createFakeModel({ writes: WRITES });
  const asking = model.ask(picture, 'Where?', { camera } as GenerateOptions);
  await expect(asking).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID', details: { path: place } });
  expect(engine.encoded).toHaveLength(0);
});
