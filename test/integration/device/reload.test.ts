/** Another configuration for a running device: what changes, what goes on, and what has to wait. */
import { isSdkError } from 'scenebus';
import { connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DeviceService } from '#device/app/device-service.js';
import type { DeviceConfigInput } from '#device/config/schema.js';
import { Listener, startMosquitto, type TestBroker } from '../../support/brokers.js';
import { FakeCamera, fakeFrame, fakeModel } from '../../support/device-fakes.js';
import { deviceName, makeConfig, topic } from './demo-device.js';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startMosquitto();
});
afterAll(() => broker[Symbol.asyncDispose]());

async function startDevice(input: Partial<DeviceConfigInput>) {
  const opened: { readonly id: string | undefined; readonly camera: FakeCamera }[] = [];
  let loads = 0;
  const { model, calls } = fakeModel();
  const configOf = (changes: Partial<DeviceConfigInput>) => makeConfig({ broker: { url: broker.url }, ...changes });
  const service = await DeviceService.start(await configOf(input), {
    parts: {
      openCamera: async (_, { id }) => {
        const camera = new FakeCamera();
        camera.newest = { ...fakeFrame(opened.length + 1, 50), id: `${id}-1` };
        camera.set('streaming');
        opened.push({ id, camera });
        return camera;
      },
      loadModel: async () => {
        loads += 1;
        return model;
      },
    },
    requireBroker: true,
  });
  const reload = async (changes: Partial<DeviceConfigInput>) => service.reload(await configOf(changes));
  return { service, reload, opened, calls, loads: () => loads, [Symbol.asyncDispose]: () => service.stop() };
}

const camera = (id: string, more: object = {}) => ({ id, address: 'test:moving', describe: false, ...more });

describe('a reload', () => {
  test('adds, changes and removes cameras; the others stay open, and the model loaded', async () => {
    await using listener = await Listener.open(broker, 5);
    await using device = await startDevice({ cameras: [camera('keep'), camera('change'), camera('gone')] });
    await using client = await connectClient(broker.url);
    await listener.next(({ topic: name }) => name === topic('camera/gone/status'));
    const cameras = [camera('keep', { prompt: 'Who?' }), camera('change', { rotation: 90 }), camera('fresh')];
    expect(await device.reload({ cameras })).toEqual({
      applied: ['cameras.change.rotation', 'cameras.fresh', 'cameras.gone', 'cameras.keep.prompt'],
      needsRestart: [],
    });
    expect(device.opened.map(({ id }) => id)).toEqual(['keep', 'change', 'gone', 'change', 'fresh']);
    expect(device.opened.map(({ camera: { status } }) => status.state)).toEqual([
      'streaming',
      'closed',
      'closed',
      'streaming',
      'streaming',
    ]);
    expect(device.loads()).toBe(1);
    for (const id of ['keep', 'change', 'fresh']) {
      expect((await client.ask(deviceName, { question: 'What?', camera: id })).frameId).toBe(`${id}-1`);
    }
    await expect(client.ask(deviceName, { question: 'What?', camera: 'gone' })).rejects.toMatchObject({
      code: 'ERR_REQUEST_INVALID',
    });
    await listener.next(({ topic: name, json }) => name === topic('info') && json.cameras.includes('fresh'));
    // Its retained messages are taken away.
    await listener.next(
      ({ topic: name, packet }) => name === topic('camera/gone/status') && packet.payload.length === 0,
    );
  });

  test('describes as it is said now, and does not begin again where nothing changed', async () => {
    const silent = { describe: { minIntervalSeconds: 0, maxSilenceSeconds: 86_400 } };
    await using device = await startDevice({ cameras: [camera('a', { describe: true })], ...silent });
    const scenes: string[] = [];
    const waiting: (() => void)[] = [];
    device.service.hub.on('scene', ({ camera: id }) => {
      scenes.push(id!);
      for (const wake of waiting.splice(0)) wake();
    });
    const described = async (count: number) => {
      while (scenes.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    };
    await described(1);
    await device.reload({ cameras: [camera('a', { describe: true }), camera('b', { describe: true })], ...silent });
    await described(2);
    expect(scenes).toEqual(['a', 'b']);
    await device.reload({
      cameras: [camera('a', { describe: true, prompt: 'Who?' }), camera('b', { describe: false })],
      ...silent,
    });
    await described(3);
    expect(scenes).toEqual(['a', 'b', 'a']);
    expect(device.calls.at(-1)).toMatchObject({ kind: 'ask', question: 'Who?' });
  });

  test('changes the limits of callers and says so in info', async () => {
    await using listener = await Listener.open(broker, 5);
    await using device = await startDevice({ cameras: [camera('a')] });
    const ask = { perCaller: { requestsPerSecond: 0.1, burst: 1 }, timeoutMs: 5_000 };
    await device.reload({ cameras: [camera('a')], ask });
    const info = await listener.next(
      ({ topic: name, json }) => name === topic('info') && json.limits.requestsPerSecond === 0.1,
    );
    expect(info.json.limits).toMatchObject({ requestTimeoutMs: 5_000 });
    await using client = await connectClient(broker.url);
    await client.ask(deviceName, 'One?');
    await expect(client.ask(deviceName, 'Two?')).rejects.toMatchObject({ code: 'ERR_BUSY' });
  });

  test('leaves what needs a restart as it is, and everything when something can never work', async () => {
    await using device = await startDevice({ cameras: [camera('a')] });
    expect(await device.reload({ cameras: [camera('a')], model: { directory: '/another' } })).toEqual({
      applied: [],
      needsRestart: ['model.directory'],
    });
    const wrong = device.reload({ cameras: [camera('a', { rotation: 90 }), { id: 'b', address: 'nonsense://x' }] });
    expect(isSdkError(await wrong.catch((error: unknown) => error))).toBe(true);
    expect(device.opened).toHaveLength(1);
    expect(device.opened[0]!.camera.status.state).toBe('streaming');
    expect(device.service.state).toBe('running');
  });

  test('one after the other, and none after the stop', async () => {
    const device = await startDevice({ cameras: [camera('a')] });
    const both = [device.reload({ cameras: [camera('b')] }), device.reload({ cameras: [camera('c')] })];
    await Promise.all(both);
    expect(device.opened.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
    await device.service.stop();
    await expect(device.reload({ cameras: [camera('d')] })).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(device.opened.every(({ camera: { status } }) => status.state === 'closed')).toBe(true);
  });
});
