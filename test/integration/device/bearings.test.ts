/** Where things are, from a calibration in the configuration to messages on a real broker, with the demo model. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CameraLens, formatCameraInfo, type VisionLanguageModel } from 'scenebus';
import { type BusClient, connect } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import { loadConfig } from '#device/config/load.js';
import { Listener, startEmbedded, type TestBroker } from '../../support/brokers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { clip, demoModel, deviceName, lend, loadDemoModel, startService, topic } from './demo-device.js';

/** For pictures of twice the size of the clip's, without distortion, so that what is expected is written by hand below. */
const LENS: CameraLens = {
  width: 1280,
  height: 960,
  fx: 1000,
  fy: 1000,
  cx: 639.5,
  cy: 479.5,
  distortionModel: 'plumb_bob',
  distortion: [0, 0, 0, 0, 0],
};
const HEIGHT_METRES = 1.2;
const TILT_DEGREES = 35;
const degrees = (radians: number) => (radians * 180) / Math.PI;

let broker: TestBroker;
let model: VisionLanguageModel;
let listener: Listener;
let folder: string;

beforeAll(async () => {
  broker = await startEmbedded();
  folder = await makeTemporaryFolder('scenebus-bearings-');
  model = await loadDemoModel(await makeTemporaryFolder('scenebus-bearings-cache-'));
  listener = await Listener.open(broker, 4);
}, 240_000);
afterAll(async () => {
  await listener[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

async function start(name: string, lens: CameraLens, mounting: string): Promise<DeviceService> {
  await writeFile(join(folder, `${name}.yaml`), formatCameraInfo(lens, name));
  const text = `
version: 1
device: ${deviceName}
model: { directory: ${demoModel} }
cameras:
  - { id: ${name}, address: ${clip}, loop: true, intrinsics: ${name}.yaml${mounting} }
broker: { url: "${broker.url}" }
describe: { minIntervalSeconds: 0 }
healthIntervalSeconds: 1
journal: { enabled: false }
console: { enabled: false }
`;
  const file = join(folder, 'config.yaml');
  await writeFile(file, text);
  return await startService(await loadConfig(file, {}, { check: 'all' }), { parts: lend(model) });
}

interface SeenObject {
  readonly box: { readonly x1: number; readonly y1: number; readonly x2: number; readonly y2: number };
  readonly bearing?: Record<string, number | string>;
  readonly floor?: Record<string, number>;
}

/** Of a point of the picture, from 0 to 1: parts of the focal length, to the right and down. */
const offAxis = (x: number, y: number) => [((x - 0.5) * LENS.width) / LENS.fx, ((y - 0.5) * LENS.height) / LENS.fy];

function expectPlaced({ box, bearing, floor }: SeenObject): void {
  const tilt = (TILT_DEGREES * Math.PI) / 180;
  /** Forward, left and up in the axes of the base, for a camera that looks down by `tilt`. */
  const seenAlong = (x: number, y: number) => {
    const [right = 0, down = 0] = offAxis(x, y);
    return [Math.cos(tilt) - down * Math.sin(tilt), -right, -Math.sin(tilt) - down * Math.cos(tilt)] as const;
  };
  const [ahead, left, up] = seenAlong((box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2);
  expect(bearing).toMatchObject({ frame: 'base' });
  expect(bearing?.azimuthDegrees).toBeCloseTo(degrees(Math.atan2(left, ahead)), 2);
  expect(bearing?.elevationDegrees).toBeCloseTo(degrees(Math.atan2(up, Math.hypot(ahead, left))), 2);
  expect(bearing?.sigmaDegrees).toBeGreaterThan(0.49);
  expect(bearing?.sigmaDegrees).toBeLessThan(5);
  const [toFront, toLeft, below] = seenAlong((box.x1 + box.x2) / 2, box.y2);
  const length = HEIGHT_METRES / -below;
  expect(floor?.xMetres).toBeCloseTo(0.1 + toFront * length, 2);
  expect(floor?.yMetres).toBeCloseTo(toLeft * length, 2);
  expect(floor?.sigmaMetres).toBeGreaterThan(0.005);
}

describe('a device whose camera is calibrated and mounted', { timeout: 240_000 }, () => {
  let service: DeviceService;
  let client: BusClient;
  beforeAll(async () => {
    const mounting = `, mounting: { heightMetres: ${HEIGHT_METRES}, pitchDegrees: ${TILT_DEGREES}, forwardMetres: 0.1 }`;
    service = await start('front', LENS, mounting);
    client = await connect({ url: broker.url });
  }, 240_000);
  afterAll(async () => {
    await client.close();
    await service.stop();
  });

  test('says in its scenes where each thing is, at the size of its pictures', async () => {
    const scene = await listener.next(
      ({ topic: at, json }) => at === topic('camera/front/scene') && json.objects?.length > 0,
    );
    expect(scene.json.image).toEqual({ width: 640, height: 480 });
    for (const object of scene.json.objects) expectPlaced(object);
  });

  test('says it in answers to questions, descriptions and searches', async () => {
    const list = model.info.prompts.list;
    const asked = await client.request(deviceName, 'ask', { question: list });
    const described = await client.request(deviceName, 'describe', {});
    const label = described.data.objects[0]?.label ?? '';
    const located = await client.request(deviceName, 'locate', { objects: [label], frameId: described.frameId });
    for (const { data } of [asked, described, located]) {
      expect(data.objects.length).toBeGreaterThan(0);
      for (const object of data.objects) expectPlaced(object as unknown as SeenObject);
    }
  });
});

test('a calibration for pictures of another shape is a problem of the device, not a wrong place', async () => {
  const service = await start('side', { ...LENS, height: 720 }, '');
  try {
    const isNamed = ({ message }: { message: string }) => message.includes('camera side');
    const { json } = await listener.next(
      ({ topic: at, json }) => at === topic('health') && json.problems?.some(isNamed),
    );
    expect(json.state).toBe('degraded');
    expect(json.problems.find(isNamed)).toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringMatching(/640×480.*1280×720.*calibrate the camera at the size/),
    });
    const isScene = ({ topic: at, json: scene }: { topic: string; json: { objects?: unknown[] } }) =>
      at === topic('camera/side/scene') && (scene.objects?.length ?? 0) > 0;
    expect((await listener.next(isScene)).json.objects[0]).not.toHaveProperty('bearing');
  } finally {
    await service.stop();
  }
}, 90_000);
