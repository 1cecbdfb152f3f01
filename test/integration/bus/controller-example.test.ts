import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type Bus, connectBus, type EventInput } from '#sdk/bus/index.js';
import { startEmbedded, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const EXAMPLE = fileURLToPath(new URL('../../../dist/examples/controller.js', import.meta.url));

function runController(url: string, maxAgeSeconds = '10') {
  const child = spawn(process.execPath, [EXAMPLE, url, 'demo', 'red cup', maxAgeSeconds], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return {
    says: (text: string) => until(() => output.includes(text)),
    /** How often it has said so. */
    count: (line: string) => output.split('\n').filter((each) => each === line).length,
    end: async () => {
      child.kill('SIGTERM');
      return await exited;
    },
  };
}

async function publishPerson(bus: Bus, change: Partial<EventInput> = {}): Promise<void> {
  const { frame, model } = observation();
  await bus.publishEvent('cam0', {
    ...{ frame, model, watch: 'person-in-the-way', eventId: 'e1', type: 'new', question: '?', answerType: 'yes-no' },
    ...{ value: true, previous: false, probability: 0.93, startedAtMs: 0, evidence: { objects: [] } },
    ...change,
  });
}

describe('the controller example', () => {
  test('adds a watch, stops when it fires and while the device is away, asks, and ends cleanly', async () => {
    await using broker = await startEmbedded();
    const bus = await connectBus({ url: broker.url, device: 'demo' });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
    bus.handle('watch/add', async ({ watch }) => ({ watch: { watch, origin: 'bus', cameras: [] } }));
    const controller = runController(broker.url);
    await controller.says('stop: demo has not been seen');
    await controller.says('the device watches for people');
    await controller.says('Asked: Where is the red cup?');
    await controller.says('red cup at 160, 240, 320, 360 of 640×480');
    await controller.says('demo is online');
    expect(controller.count('drive')).toBe(1);

    await publishPerson(bus);
    await controller.says('stop: a person before cam0 (93 %)');
    await publishPerson(bus, { type: 'end', value: false, previous: true });
    await until(() => controller.count('drive') === 2);
    await bus.close();
    await controller.says('stop: demo is stopped');
    expect(await controller.end()).toEqual([0, null]);
  });

  test('stops while a camera is lost or stands still: nobody is seen by it, and no event says so', async () => {
    await using broker = await startEmbedded();
    await using bus = await connectBus({ url: broker.url, device: 'demo' });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
    bus.handle('watch/add', async ({ watch }) => ({ watch: { watch, origin: 'bus', cameras: [] } }));
    const none = { frameId: null, frameTs: null, lastFrameAgeMs: null, image: null, framesPerSecond: null };
    const status = { ...none, reason: null };
    await bus.publishCameraStatus('cam0', { ...status, state: 'running' });
    const controller = runController(broker.url);
    await until(() => controller.count('drive') === 1);
    for (const [index, state] of (['reconnecting', 'stalled', 'failed', 'ended'] as const).entries()) {
      await bus.publishCameraStatus('cam0', { ...status, state });
      await controller.says(`stop: camera cam0 is ${state}`);
      await bus.publishCameraStatus('cam0', { ...status, state: 'running' });
      await until(() => controller.count('drive') === index + 2);
    }
    expect(await controller.end()).toEqual([0, null]);
  });

  test('stops when no new description comes', async () => {
    await using broker = await startEmbedded();
    await using bus = await connectBus({ url: broker.url, device: 'demo' });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
    const controller = runController(broker.url, '1');
    await controller.says('no watch (ERR_REQUEST_UNSUPPORTED)');
    const scene = observation('An empty aisle.');
    const inTheFuture = { ...scene.frame, capturedAtMs: Date.now() + 3_600_000 };
    await bus.publishScene('cam0', { ...scene, frame: inTheFuture });
    await controller.says('stop: the last scene is too old');
    await controller.says('stop: no new scene of cam0');
    expect(await controller.end()).toEqual([0, null]);
  });

  test('reads descriptions of a device that has no watches', async () => {
    await using broker = await startEmbedded();
    await using bus = await connectBus({ url: broker.url, device: 'demo' });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
    const controller = runController(broker.url);
    await controller.says('no watch (ERR_REQUEST_UNSUPPORTED)');
    const scene = observation('A person walks by.');
    const fresh = { ...scene.frame, capturedAtMs: Date.now() };
    await bus.publishScene('cam0', { ...scene, frame: fresh });
    await controller.says('stop: "person" in what cam0 sees');
    const before = controller.count('drive');
    await bus.publishScene('cam0', { ...observation('An empty aisle.'), frame: fresh });
    await until(() => controller.count('drive') === before + 1);
    await bus.publishScene('cam0', observation('An old frame.'));
    await controller.says('stop: the last scene is too old');
    expect(await controller.end()).toEqual([0, null]);
  });
});
