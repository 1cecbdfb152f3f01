/** The service over its journal: what was accepted outlives the broker, the disk and the service. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCamera, silentLogger } from 'scenebus';
import { connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceParts } from '#device/app/device-parts.js';
import { DeviceService } from '#device/app/device-service.js';
import { runCli } from '#device/cli/program.js';
import { Listener, startMosquitto, startProxy, type TestBroker, until } from '../../support/brokers.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { FakeCamera, fakeAnswer, fakeConfig, fakeFrame, fakeModel } from '../../support/device-fakes.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startMosquitto();
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

const cameras = [{ id: 'cam', address: 'fake', describe: false }];

function parts(before?: Parameters<typeof fakeModel>[0]): DeviceParts {
  return {
    openCamera: async () => {
      const camera = new FakeCamera();
      camera.newest = fakeFrame(1);
      camera.set('streaming');
      return camera;
    },
    loadModel: async () => fakeModel(before).model,
  };
}

const frame = { id: 'cam-1', capturedAtMs: 1, width: 64, height: 48 };
const finding = (value: number) => ({
  frame,
  model: { id: 'fake' },
  watch: 'door',
  eventId: String(value),
  type: 'update' as const,
  question: 'How many?',
  answerType: 'number' as const,
  value,
  previous: null,
  probability: null,
  startedAtMs: 1,
  evidence: { objects: [] },
});

describe('the journal of a service', () => {
  test('holds an answer that the broker could not take, and the next run gives it to its asker', async () => {
    await using proxy = await startProxy(broker.port);
    const directory = await makeTemporaryFolder('scenebus-service-journal-');
    const config = await fakeConfig({ device: 'keeper', cameras, broker: { url: proxy.url }, journal: { directory } });
    let release = () => {};
    let asked = () => {};
    const isAsked = new Promise<void>((resolve) => (asked = resolve));
    const slow = parts(async () => {
      asked();
      await new Promise<void>((resolve) => (release = resolve));
    });
    await using asker = await Listener.open(broker, 5, 'scenebus/keeper/response/ask');
    const first = await DeviceService.start(config, { parts: slow, logger: silentLogger, requireBroker: true });
    const question = JSON.stringify({ question: 'Who is there?', transaction: 't1' });
    await asker.client.publishAsync('scenebus/keeper/request/ask', question, { qos: 1 });
    await isAsked;
    // After this round trip the broker has the acknowledgement of the question: it does not come again.
    await first.bus.publishHealth({ state: 'running', uptimeSeconds: 1, problems: [] });
    proxy.close();
    await until(() => first.bus.state !== 'online');
    release();
    await until(() => first.journal.metrics.eventsPending === 1);
    await first.stop();
    expect(asker.messages).toHaveLength(0);

    proxy.open();
    await using second = await DeviceService.start(config, { parts: parts(), logger: silentLogger });
    const { json, packet } = await asker.next(() => true);
    expect(json).toMatchObject({ status: 'ok', transaction: 't1', frameId: 'cam-1', data: { text: 'ask cam-1' } });
    expect(json.run).toBe(first.bus.run);
    expect(json.run).not.toBe(second.bus.run);
    expect(packet.properties?.userProperties).toHaveProperty('repeated', 'true');
    await until(() => second.journal.metrics.eventsPending === 0);
    const { events } = await second.journal.query({ kinds: ['answer'] });
    expect(events).toHaveLength(1);
    expect(events[0]?.body).toMatchObject({ verb: 'ask', question: 'Who is there?', answer: { text: 'ask cam-1' } });
    expect(events[0]?.body).not.toHaveProperty('reply');
  });

  test('gives the last description of a camera to the broker after a kill, with what is left of its life', async () => {
    await using proxy = await startProxy(broker.port);
    const directory = await makeTemporaryFolder('scenebus-service-journal-');
    const input = { device: 'seer', broker: { url: proxy.url }, journal: { directory } };
    const config = await fakeConfig({ ...input, cameras: [...cameras, { ...cameras[0]!, id: 'other' }] });
    const first = await DeviceService.start(config, { parts: parts(), logger: silentLogger, requireBroker: true });
    proxy.close();
    await until(() => first.bus.state !== 'online');
    const scene = (text: string) => ({ frame: fakeFrame(1), model: { id: 'fake' }, answer: fakeAnswer(text) });
    const emit = (camera: string, text: string) =>
      first.hub.emit('scene', scene(text), { camera, frame: { ...frame, id: `${camera}-1` } });
    await emit('cam', 'A dog.');
    const { atMs } = await emit('cam', 'A red cup.');
    await emit('other', 'Gone with its camera.');
    await first.stop(); // the broker is away: what is in memory is lost, as by a kill

    proxy.open();
    await using listener = await Listener.open(broker, 5, 'scenebus/seer/camera/+/scene');
    const later = await fakeConfig({ ...input, cameras });
    await using _second = await DeviceService.start(later, { parts: parts(), logger: silentLogger });
    const { json, topic } = await listener.next(() => true);
    expect(topic).toBe('scenebus/seer/camera/cam/scene');
    expect(json).toMatchObject({ text: 'A red cup.', frameId: 'cam-1', camera: 'cam' });
    // Milliseconds of the two moments at which the clock was read.
    expect(Math.abs(Date.parse(json.expiresTs) - (atMs + 300_000))).toBeLessThan(5_000);
    await _second.bus.publishHealth({ state: 'running', uptimeSeconds: 1, problems: [] });
    expect(listener.messages).toHaveLength(1);
  });

  test('is not used by two services at once', async () => {
    const directory = await makeTemporaryFolder('scenebus-service-journal-');
    const config = await fakeConfig({ device: 'twin', cameras, broker: { url: broker.url }, journal: { directory } });
    const options = { parts: parts(), logger: silentLogger };
    const first = await DeviceService.start(config, options);
    await expect(DeviceService.start(config, options)).rejects.toMatchObject({ code: 'ERR_JOURNAL_LOCKED' });
    expect(first.state).toBe('running');
    await first.stop();
    await using _next = await DeviceService.start(config, options);
  });

  test('bounds what waits for the broker, counts what it drops and says so', async () => {
    await using proxy = await startProxy(broker.port);
    const directory = await makeTemporaryFolder('scenebus-service-journal-');
    const journal = { directory, waiting: { maxEvents: 2 } };
    const config = await fakeConfig({ device: 'small', cameras, broker: { url: proxy.url }, journal });
    await using listener = await Listener.open(broker, 5, 'scenebus/small/#');
    const options = { parts: parts(), logger: silentLogger, requireBroker: true };
    await using service = await DeviceService.start(config, options);
    proxy.close();
    await until(() => service.bus.state !== 'online');
    for (const number of [1, 2, 3, 4, 5]) await service.hub.emit('watch', finding(number), { camera: 'cam', frame });
    expect(service.journal.metrics).toMatchObject({ eventsPending: 2, eventsDroppedQueueFull: 3 });
    proxy.open();
    const events = () =>
      listener.messages.filter(({ topic }) => topic.endsWith('/event')).map(({ json }) => json.value);
    await listener.next(() => events().length === 2);
    expect(events()).toEqual([4, 5]);
    // The log has all of them.
    expect((await service.journal.query({ kinds: ['watch'] })).events).toHaveLength(5);
    await until(() => service.journal.metrics.eventsPending === 0);
    await service.stop(); // with a last word about its health
    const counted = await listener.next(({ json }) => json.metrics?.eventsDelivered === 2);
    expect(counted.json.metrics).toMatchObject({ eventsDroppedQueueFull: 3, eventsPending: 0 });
  });

  test('that cannot be written degrades the device and stops nothing, until the disk is back', async () => {
    const folder = await makeTemporaryFolder('scenebus-service-journal-');
    const directory = join(folder, 'place');
    writeFileSync(directory, 'a file where the folder should be');
    const config = await fakeConfig({
      device: 'diskless',
      cameras,
      broker: { url: broker.url },
      journal: { directory },
    });
    await using listener = await Listener.open(broker, 5, 'scenebus/diskless/#');
    await using service = await DeviceService.start(config, {
      parts: parts(),
      logger: silentLogger,
      requireBroker: true,
    });
    expect(service.state).toBe('degraded');
    const degraded = await listener.next(({ topic, json }) => topic.endsWith('/health') && json.state === 'degraded');
    expect(degraded.json.problems[0]).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE', retryable: true });
    await using client = await connectClient(broker.url);
    expect((await client.ask('diskless', 'Who is there?')).text).toBe('ask cam-1');
    rmSync(directory);
    await listener.next(({ topic, json }) => topic.endsWith('/health') && json.state === 'running');
    const { events } = await service.journal.query({ kinds: ['answer'] });
    expect(events).toHaveLength(1);
  });

  test('keeps pictures where that is wanted, and gives them away with their questions', async () => {
    const folder = await makeTemporaryFolder('scenebus-service-journal-');
    const journal = { directory: join(folder, 'state'), frames: true };
    const address = 'test:moving';
    const seeing = [{ id: 'cam', address, describe: false }];
    const config = await fakeConfig({ device: 'seer', cameras: seeing, broker: { url: broker.url }, journal });
    {
      const real = { ...parts(), openCamera };
      await using _service = await DeviceService.start(config, {
        parts: real,
        logger: silentLogger,
        requireBroker: true,
      });
      await using client = await connectClient(broker.url);
      await client.ask('seer', 'Who is there?');
    }
    const terminal = captureTerminal();
    const file = join(folder, 'state', 'seer', 'journal.db');
    const target = join(folder, 'set');
    const args = ['log', 'export', '--journal', file, '--data-set', target];
    expect(await runCli(args, { terminal, environment: {} })).toBe(0);
    expect(terminal.output()).toContain('set: 1 samples');
  });
});
