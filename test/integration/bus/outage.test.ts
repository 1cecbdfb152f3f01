import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bus, type BusOptions, connectBus } from '#sdk/bus/index.js';
import {
  BROKERS,
  freePort,
  Listener,
  startMosquitto,
  startProxy,
  type TestBroker,
  until,
} from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const QUICK = { backoff: { initialMs: 5, maxMs: 20 } } as const;
const CHILD = fileURLToPath(new URL('../../support/bus-child.mjs', import.meta.url));
const status = { frameId: null, frameTs: null, lastFrameAgeMs: null, image: null, framesPerSecond: null, reason: null };

describe.each(BROKERS)('when things break, against $name', ({ version, start }) => {
  let broker: TestBroker;
  beforeAll(async () => {
    broker = await start();
  });
  afterAll(async () => {
    await broker[Symbol.asyncDispose]();
  });
  const open = (url: string, device: string, options: Partial<BusOptions> = {}): Promise<Bus> =>
    connectBus({ url, device, protocolVersion: version, ...QUICK, ...options });

  test('the broker says offline for a device that was killed', async () => {
    await using listener = await Listener.open(broker, version, 'scenebus/victim/availability');
    const child = spawn(process.execPath, [CHILD, broker.url, String(version), 'victim'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    await listener.next(({ json }) => json.state === 'online');
    child.kill('SIGKILL');
    await exited;
    await listener.next(({ json }) => json.state === 'offline');
    await using late = await Listener.open(broker, version, 'scenebus/victim/availability');
    const { json, packet } = await late.next(() => true);
    expect(json).toMatchObject({ state: 'offline', device: 'victim', seq: 0 });
    expect(packet.retain).toBe(true);
  });

  test('says online again after its connection was cut', async () => {
    await using proxy = await startProxy(broker.port);
    await using bus = await open(proxy.url, 'cut');
    await using listener = await Listener.open(broker, version, bus.topics.availability);
    await listener.next(({ json }) => json.state === 'online');
    proxy.cut();
    await listener.next(({ json }) => json.state === 'online' && json.seq === 2);
    await until(() => bus.state === 'online');
    expect(bus.stats).toMatchObject({ connects: 2, disconnects: 1 });
    // A short break within the will delay is not seen at all; 3.1.1 has no delay.
    const states = listener.messages.map(({ json }) => json.state);
    expect(states).toEqual(version === 5 ? ['online', 'online'] : ['online', 'offline', 'online']);
  });

  test('after an outage sends birth, info and the latest of each state, once, and every waiting answer', async () => {
    await using proxy = await startProxy(broker.port);
    await using bus = await open(proxy.url, 'outage', { offlineQueueLength: 3 });
    const release: (() => void)[] = [];
    bus.onAsk(async ({ question }) => {
      await new Promise<void>((resolve) => release.push(resolve));
      return observation(question);
    });
    await bus.publishInfo({ versions: {}, model: null, cameras: ['cam0'] });
    await bus.publishScene('cam0', observation('before', 'f0'));
    {
      await using asker = await Listener.open(broker, version, 'nothing');
      for (const question of ['1', '2', '3', '4', '5']) {
        const request = JSON.stringify({ question, transaction: question });
        await asker.client.publishAsync(bus.topics.request('ask'), request, { qos: 1 });
      }
    }
    await until(() => release.length === 5);

    proxy.close();
    await until(() => bus.state === 'offline');
    await broker.kill();
    for (const go of release) go();
    await until(() => bus.stats.requestsAnswered === 5);
    for (let n = 1; n <= 50; n += 1) {
      expect(await bus.publishScene('cam0', observation(`scene ${n}`, `f${n}`))).toBe('queued');
      expect(await bus.publishCameraStatus('cam0', { ...status, state: 'running' })).toBe('queued');
    }
    expect(bus.stats).toMatchObject({ droppedQueueFull: 2, superseded: 98 });

    // The broker comes back with nothing remembered; whoever listens then sees the whole state, in order.
    await broker.restart();
    await using listener = await Listener.open(broker, version, `scenebus/outage/#`);
    proxy.open();
    await listener.next(({ json }) => json?.transaction === '5');
    await until(() => bus.stats.queued === 0);
    const short = listener.messages.map(({ topic }) => topic.replace('scenebus/outage/', ''));
    expect(short).toEqual([
      'availability',
      'info',
      'camera/cam0/status',
      'camera/cam0/scene',
      'response/ask',
      'response/ask',
      'response/ask',
    ]);
    expect(listener.on(bus.topics.cameraScene('cam0'))[0]?.json).toMatchObject({ text: 'scene 50', seq: 51 });
    expect(listener.on(bus.topics.response('ask')).map(({ json }) => json.transaction)).toEqual(['3', '4', '5']);
    expect(await bus.publishScene('cam0', observation('after'))).toBe('delivered');
  });

  test('sends no scene that became stale during the outage', async () => {
    await using proxy = await startProxy(broker.port);
    await using bus = await open(proxy.url, 'stale', { sceneExpirySeconds: 0.05 });
    await bus.publishScene('cam0', observation('old'));
    proxy.close();
    await until(() => bus.state === 'offline');
    const publishedAt = Date.now();
    await until(() => Date.now() > publishedAt + 60);
    await using listener = await Listener.open(broker, version, bus.topics.availability);
    proxy.open();
    await until(() => bus.state === 'online');
    await listener.next(({ json }) => json.seq === 2);
    expect(bus.stats).toMatchObject({ droppedExpired: 1, published: 1 });
  });

  test('closes without hanging while the broker is away', async () => {
    await using proxy = await startProxy(broker.port);
    const bus = await open(proxy.url, 'closing');
    proxy.close();
    await until(() => bus.state === 'offline');
    await bus.publishScene('cam0', observation());
    await bus.close();
    expect(bus.state).toBe('closed');
  });

  test('keeps its connection when a listener throws, and says when a camera cannot be removed now', async () => {
    await using proxy = await startProxy(broker.port);
    await using bus = await open(proxy.url, 'listened');
    const fail = (): never => {
      throw new Error('listener');
    };
    bus.onStateChange(fail);
    bus.onPublished(fail);
    expect(await bus.publishScene('cam0', observation())).toBe('delivered');
    proxy.close();
    await until(() => bus.state === 'offline');
    await expect(bus.removeCamera('cam0')).rejects.toMatchObject({ code: 'ERR_BUS_UNREACHABLE' });
    proxy.open();
    await until(() => bus.state === 'online');
    expect(await bus.publishScene('cam0', observation())).toBe('delivered');
  });

  test('waits for a broker that starts later', async () => {
    await using proxy = await startProxy(broker.port);
    proxy.close();
    const states: string[] = [];
    await using bus = await open(proxy.url, 'early', { waitForBroker: false, protocolVersion: undefined });
    bus.onStateChange((state) => states.push(state));
    expect(['connecting', 'offline']).toContain(bus.state);
    expect(await bus.publishScene('cam0', observation('first'))).toBe('queued');
    proxy.open();
    await using listener = await Listener.open(broker, version, bus.topics.cameraScene('cam0'));
    expect((await listener.next(() => true)).json.text).toBe('first');
    expect(states.at(-1)).toBe('online');
  });
});

describe('the session of MQTT 5', () => {
  test('keeps a question that was asked while the device was away for a moment', async () => {
    await using broker = await startMosquitto();
    await using proxy = await startProxy(broker.port);
    await using bus = await connectBus({ url: proxy.url, device: 'away', protocolVersion: 5, ...QUICK });
    bus.onAsk(async ({ question }) => observation(question));
    proxy.close();
    await until(() => bus.state === 'offline');
    await using asker = await Listener.open(broker, 5, bus.topics.response('ask'));
    await asker.client.publishAsync(bus.topics.request('ask'), '{"question":"Are you there?"}', { qos: 1 });
    proxy.open();
    expect((await asker.next(() => true)).json).toMatchObject({ status: 'ok', data: { question: 'Are you there?' } });
  });

  test('ends when the device announces its stop: a later question is not kept for its next start', async () => {
    await using broker = await startMosquitto();
    const options = { url: broker.url, device: 'gone', protocolVersion: 5 } as const;
    const bus = await connectBus(options);
    await using asker = await Listener.open(broker, 5, bus.topics.response('ask'));
    await bus.close();
    await asker.client.publishAsync(bus.topics.request('ask'), '{"question":"Too late?"}', { qos: 1 });
    await using again = await connectBus(options);
    again.onAsk(async ({ question }) => observation(question));
    await asker.client.publishAsync(again.topics.request('ask'), '{"question":"In time?"}', { qos: 1 });
    expect((await asker.next(() => true)).json.data.question).toBe('In time?');
    expect(again.stats.requestsReceived).toBe(1);
  });
});

describe('an unreachable broker', () => {
  test('is a typed error that says what to do and shows no password', async () => {
    const port = await freePort();
    const failure = connectBus({ url: `mqtt://robot:hunter2@127.0.0.1:${port}`, device: 'dev' });
    await expect(failure).rejects.toMatchObject({
      code: 'ERR_BUS_UNREACHABLE',
      retryable: true,
      message: expect.stringMatching(/Start the broker/),
      details: { hint: expect.stringMatching(/waitForBroker/) },
    });
    const error = await failure.catch((reason: unknown) => reason);
    expect(JSON.stringify([String(error), error, (error as Error).stack, (error as Error).cause])).not.toContain(
      'hunter2',
    );
  });

  test('gives up when the caller aborts', async () => {
    const controller = new AbortController();
    const failure = connectBus({ url: 'mqtt://192.0.2.1:1883', device: 'dev', signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(failure).rejects.toThrow('enough');
  });

  test('that is no broker at all is told from one that is not there', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.resume();
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no port');
    await expect(connectBus({ url: `mqtt://127.0.0.1:${address.port}`, device: 'dev' })).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/MQTT 5 or 3\.1\.1/),
    });
    await new Promise((resolve) => server.close(resolve));
  });
});
