import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bus, type BusOptions, busSchemas, connectBus } from '#sdk/bus/index.js';
import type { Logger } from '#sdk/core/logger.js';
import { BROKERS, Listener, type TestBroker, until } from '../../support/brokers.js';
import { MODEL, observation } from '../../support/observations.js';

const status = {
  state: 'running',
  frameId: 'cam0-000001',
  frameTs: '2026-01-02T03:04:05.678Z',
  lastFrameAgeMs: 12,
  image: { width: 640, height: 480 },
  framesPerSecond: 29.9,
  reason: null,
} as const;
const info = { versions: { scenebus: '0.1.0', node: process.version }, model: { ...MODEL }, cameras: ['cam0'] };

describe.each(BROKERS)('the bus against $name', ({ version, negotiates, start }) => {
  let broker: TestBroker;
  let devices = 0;
  beforeAll(async () => {
    broker = await start();
  });
  afterAll(async () => {
    await broker[Symbol.asyncDispose]();
  });

  const open = (options: Partial<BusOptions> = {}): Promise<Bus> => {
    devices += 1;
    return connectBus({ url: broker.url, device: `dev${devices}`, protocolVersion: version, ...options });
  };
  /** A device that answers with the question, and a listener who asked for answers on a topic of its own. */
  const asked = async (options: Partial<BusOptions> = {}) => {
    const bus = await open(options);
    const answers = `scenebus/client/${bus.topics.device}/response`;
    const listener = await Listener.open(broker, version, [answers, bus.topics.response('ask')]);
    const ask = (
      payload: string | Buffer | object,
      extra: { retain?: boolean; responseTopic?: string; correlation?: string } = {},
    ) =>
      listener.client.publishAsync(
        bus.topics.request('ask'),
        typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload),
        {
          qos: 1,
          retain: extra.retain ?? false,
          ...(version === 5 && extra.responseTopic !== undefined
            ? {
                properties: {
                  responseTopic: extra.responseTopic,
                  ...(extra.correlation === undefined ? {} : { correlationData: Buffer.from(extra.correlation) }),
                },
              }
            : {}),
        },
      );
    return {
      bus,
      answers,
      listener,
      ask,
      async [Symbol.asyncDispose]() {
        await listener[Symbol.asyncDispose]();
        await bus.close();
      },
    };
  };

  test('publishes birth, info, status and scene retained, each fitting its schema', async () => {
    await using bus = await open();
    expect(bus.state).toBe('online');
    expect(bus.protocolVersion).toBe(version);
    expect(await bus.publishInfo(info)).toBe('delivered');
    expect(await bus.publishCameraStatus('cam0', status)).toBe('delivered');
    expect(await bus.publishScene('cam0', { ...observation(), trigger: 'change' })).toBe('delivered');
    expect(await bus.publishHealth({ state: 'running', uptimeSeconds: 1, problems: [] })).toBe('delivered');

    // A late subscriber sees all of it, because it is retained.
    await using late = await Listener.open(broker, version, `scenebus/${bus.topics.device}/#`);
    const { topics } = bus;
    const expected = [
      [topics.availability, 'availability'],
      [topics.info, 'info'],
      [topics.health, 'health'],
      [topics.cameraStatus('cam0'), 'cameraStatus'],
      [topics.cameraScene('cam0'), 'scene'],
    ] as const;
    for (const [topic, name] of expected) {
      const { json, packet } = await late.next((message) => message.topic === topic);
      expect(packet.retain, topic).toBe(true);
      expect(packet.qos, topic).toBe(1);
      expect(busSchemas[name].parse(json)).toEqual(json);
      if (version === 5) {
        expect(packet.properties).toMatchObject({
          contentType: 'application/json',
          payloadFormatIndicator: true,
          userProperties: { schema: json.schema },
        });
      }
    }
    const scene = late.on(topics.cameraScene('cam0'))[0];
    expect(scene?.json).toMatchObject({
      device: topics.device,
      seq: 1,
      camera: 'cam0',
      frameId: 'cam0-000001',
      frameTs: '2026-01-02T03:04:05.678Z',
      model: MODEL,
      generatedByModel: true,
      image: { width: 640, height: 480 },
      coordinates: { origin: 'top-left', box: 'normalised' },
      objects: [
        { label: 'red cup', boxPixels: [160, 240, 320, 360], score: 0.9, source: 'text', verified: true, trackId: 3 },
      ],
    });
    if (version === 5) expect(scene?.packet.properties?.messageExpiryInterval).toBeGreaterThan(250);
    expect(late.on(topics.availability)[0]?.json.state).toBe('online');
    expect(late.on(topics.info)[0]?.json).toMatchObject({ verbs: ['ask', 'health'], limits: { requestBytes: 65_536 } });
  });

  test('says stopped when it closes, and publishes nothing afterwards', async () => {
    const bus = await open();
    await using listener = await Listener.open(broker, version, bus.topics.availability);
    await Promise.all([bus.close(), bus.close()]);
    await listener.next(({ json }) => json.state === 'stopped');
    expect(listener.messages.map(({ json }) => json.state)).toEqual(['online', 'stopped']);
    expect(bus.state).toBe('closed');
    await expect(bus.publishScene('cam0', observation())).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  test('answers on the topic that the asker chose, with its transaction and correlation', async () => {
    await using device = await asked();
    const { bus, listener, answers, ask } = device;
    bus.onAsk(async ({ question, camera }) => ({ ...observation(`Asked: ${question}`), camera: camera ?? 'cam0' }));
    await ask(
      { question: 'Where is the cup?', transaction: 't-1', ...(version === 4 ? { responseTopic: answers } : {}) },
      { responseTopic: answers, correlation: 'c-1' },
    );
    const { topic, json, packet } = await listener.next(({ json }) => json?.transaction === 't-1');
    expect(topic).toBe(answers);
    expect(packet.retain).toBe(false);
    if (version === 5) expect(packet.properties?.correlationData?.toString()).toBe('c-1');
    expect(busSchemas.response.parse(json)).toEqual(json);
    expect(json).toMatchObject({
      status: 'ok',
      verb: 'ask',
      camera: 'cam0',
      frameId: 'cam0-000001',
      generatedByModel: true,
      data: { question: 'Where is the cup?', text: 'Asked: Where is the cup?', objects: [{ label: 'red cup' }] },
    });
    expect(bus.stats).toMatchObject({ requestsReceived: 1, requestsAnswered: 1, requestsRefused: 0 });
  });

  test('answers on response/ask when the asker chose none', async () => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    bus.onAsk(async () => observation());
    await ask({ question: 'What?', transaction: 't-2' });
    const { topic } = await listener.next(({ json }) => json?.transaction === 't-2');
    expect(topic).toBe(bus.topics.response('ask'));
  });

  test('keeps the answers of two askers at the same time apart', async () => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    const release: (() => void)[] = [];
    bus.onAsk(async ({ question }) => {
      await new Promise<void>((resolve) => release.push(resolve));
      return observation(question);
    });
    await Promise.all([ask({ question: 'first', transaction: 'a' }), ask({ question: 'second', transaction: 'b' })]);
    await until(() => release.length === 2);
    for (const go of release.reverse()) go();
    expect((await listener.next(({ json }) => json?.transaction === 'a')).json.data.text).toBe('first');
    expect((await listener.next(({ json }) => json?.transaction === 'b')).json.data.text).toBe('second');
  });

  const tenMegabytes = JSON.stringify({ question: 'x'.repeat(10 * 2 ** 20), transaction: 'big' });
  test.each([
    ['malformed JSON', '{"question": ', 'ERR_REQUEST_INVALID', /JSON/],
    ['an empty payload', '', 'ERR_REQUEST_INVALID', /JSON/],
    ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), 'ERR_REQUEST_INVALID', /UTF-8/],
    ['a JSON value that is no object', '[1]', 'ERR_REQUEST_INVALID', /schema/],
    ['an unknown key', { question: 'Who?', qestion: 1 }, 'ERR_REQUEST_INVALID', /qestion/],
    ['a question that is too long', { question: 'x'.repeat(5000) }, 'ERR_REQUEST_INVALID', /question/],
    ['an empty question', { question: '  ' }, 'ERR_REQUEST_INVALID', /question/],
    ['a camera with a wildcard', { question: 'Who?', camera: '+' }, 'ERR_REQUEST_INVALID', /camera/],
    ['__proto__ as a key', '{"question":"Who?","__proto__":{"camera":"x"}}', 'ERR_REQUEST_INVALID', /__proto__/],
    ['brackets nested 30 000 deep', `${'['.repeat(30_000)}${']'.repeat(30_000)}`, 'ERR_REQUEST_INVALID', /schema/],
    ['10 MB', tenMegabytes, 'ERR_REQUEST_TOO_LARGE', /65536 bytes/],
  ] as const)('answers %s with a typed error and goes on', async (_name, payload, code, message) => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    bus.onAsk(async () => observation());
    await ask(payload);
    const refusal = await listener.next(({ json }) => json?.status === 'error');
    expect(refusal.json.error).toMatchObject({ code, message: expect.stringMatching(message), retryable: false });
    expect(busSchemas.response.parse(refusal.json)).toEqual(refusal.json);
    expect(refusal.json.transaction).toBe(payload === tenMegabytes ? 'big' : undefined);
    await ask({ question: 'Still there?', transaction: 'after' });
    expect((await listener.next(({ json }) => json?.transaction === 'after')).json.status).toBe('ok');
    expect(bus.stats).toMatchObject({ requestsReceived: 2, requestsRefused: 1, requestsAnswered: 1 });
  });

  test('refuses a retained request, also one that waited for the device', async () => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    let asks = 0;
    bus.onAsk(async () => {
      asks += 1;
      return observation();
    });
    await ask({ question: 'Again and again?', transaction: 'kept' }, { retain: true });
    if (version === 5) {
      // MQTT 5 shows the retain flag of a live message as well.
      const { json } = await listener.next(({ json }) => json?.transaction === 'kept');
      expect(json.error).toMatchObject({ code: 'ERR_REQUEST_INVALID', message: expect.stringMatching(/retain/) });
      expect(asks).toBe(0);
    } else {
      await listener.next(({ json }) => json?.transaction === 'kept');
    }
    await bus.close();
    const before = asks;
    const again = await connectBus({ url: broker.url, device: bus.topics.device, protocolVersion: version });
    again.onAsk(async () => {
      asks += 1;
      return observation();
    });
    await listener.next(
      ({ json }) => json?.device === bus.topics.device && json.run === again.run && json.status === 'error',
    );
    expect(asks).toBe(before);
    expect(again.stats.requestsRefused).toBe(1);
    // Clearing the retained request is not a request.
    await listener.client.publishAsync(bus.topics.request('ask'), '', { qos: 1, retain: true });
    await again.close();
  });

  test.each(['$SYS/broker/x', 'scenebus/+/x', 'scenebus/#', 'elsewhere/x', 'scenebus/victim/availability', 'REQUEST'])(
    'does not answer on the response topic %s, and says so on the default one',
    async (wanted) => {
      await using device = await asked();
      const { bus, listener, ask } = device;
      let asks = 0;
      bus.onAsk(async () => {
        asks += 1;
        return observation();
      });
      const responseTopic = wanted === 'REQUEST' ? bus.topics.request('ask') : wanted;
      // MQTT.js and brokers refuse wildcards in the property themselves; in the body they come through.
      await ask({ question: 'Who?', responseTopic, transaction: 'evil' });
      const { topic, json } = await listener.next(({ json }) => json?.transaction === 'evil');
      expect(topic).toBe(bus.topics.response('ask'));
      expect(json.error).toMatchObject({
        code: 'ERR_REQUEST_INVALID',
        message: expect.stringMatching(/response topic/),
      });
      expect(asks).toBe(0);
      expect(bus.stats.responseTopicsRefused).toBe(1);
    },
  );

  test('answers on configured response topics outside the root', async () => {
    await using bus = await open({ responseTopics: ['robots/+/answers'] });
    bus.onAsk(async () => observation());
    await using listener = await Listener.open(broker, version, 'robots/r1/answers');
    const request = JSON.stringify({ question: 'Who?', responseTopic: 'robots/r1/answers' });
    await listener.client.publishAsync(bus.topics.request('ask'), request, { qos: 1 });
    expect((await listener.next(() => true)).json.status).toBe('ok');
  });

  test('answers an unknown verb and a device without a handler with typed errors', async () => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    await ask({ question: 'Anybody?', transaction: 'early' });
    const early = await listener.next(({ json }) => json?.transaction === 'early');
    expect(early.json.error).toMatchObject({ code: 'ERR_BUSY', retryable: true });
    await listener.client.subscribeAsync(bus.topics.response('dance'), { qos: 1 });
    await listener.client.publishAsync(`scenebus/${bus.topics.device}/request/dance`, '{}', { qos: 1 });
    const unknown = await listener.next(({ topic }) => topic === bus.topics.response('dance'));
    expect(unknown.json.error).toMatchObject({ code: 'ERR_REQUEST_INVALID', message: expect.stringMatching(/dance/) });
  });

  test('answers at the deadline although the handler never ends, and aborts it', async () => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    let reason: unknown;
    bus.onAsk(
      (_request, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reason = signal.reason;
            reject(signal.reason);
          });
        }),
    );
    await ask({ question: 'Are you quick?', timeoutMs: 100, transaction: 'slow' });
    const { json } = await listener.next(({ json }) => json?.transaction === 'slow');
    expect(json.error.code).toBe('ERR_REQUEST_EXPIRED');
    expect(reason).toMatchObject({ code: 'ERR_REQUEST_EXPIRED' });
    expect(bus.stats).toMatchObject({ requestsExpired: 1, requestsActive: 0 });
  });

  test('turns questions over the limit away with ERR_BUSY', async () => {
    await using device = await asked({ maxUnanswered: 2 });
    const { bus, listener, ask } = device;
    const release: (() => void)[] = [];
    bus.onAsk(async () => {
      await new Promise<void>((resolve) => release.push(resolve));
      return observation();
    });
    for (const transaction of ['1', '2', '3']) await ask({ question: 'Who?', transaction });
    const busy = await listener.next(({ json }) => json?.status === 'error');
    expect(busy.json).toMatchObject({
      transaction: '3',
      error: { code: 'ERR_BUSY', retryable: true, retryAfterMs: 1000 },
    });
    for (const go of release) go();
    await listener.next(({ json }) => json?.transaction === '2' && json.status === 'ok');
  });

  test('does not publish what an unexpected error says, but logs it', async () => {
    const logs: string[] = [];
    const logger: Logger = { log: (_level, message, details) => logs.push(`${message} ${JSON.stringify(details)}`) };
    await using device = await asked({ logger });
    const { bus, listener, ask } = device;
    bus.onAsk(async () => {
      throw new Error('password=hunter2');
    });
    await ask({ question: 'Who?', transaction: 'x' });
    const { text, json } = await listener.next(({ json }) => json?.transaction === 'x');
    expect(json.error.code).toBe('ERR_INTERNAL');
    expect(text).not.toContain('hunter2');
    expect(logs.join('\n')).toContain('hunter2');
  });

  test('refuses to publish what breaks the contract, naming the field', async () => {
    await using device = await asked();
    const { bus, listener, ask } = device;
    const wrong = observation();
    const outside = { ...wrong, frame: { ...wrong.frame, width: 100 } };
    await expect(bus.publishScene('cam0', outside)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringMatching(/objects/),
    });
    await expect(bus.publishScene('a/b', wrong)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    bus.onAsk(async () => outside);
    await ask({ question: 'Who?', transaction: 'x' });
    const { json } = await listener.next(({ json }) => json?.transaction === 'x');
    expect(json.error.code).toBe('ERR_INTERNAL');
  });

  test('removes what a camera left on the broker', async () => {
    await using bus = await open();
    await bus.publishScene('cam0', observation());
    await bus.publishCameraStatus('cam0', status);
    await bus.removeCamera('cam0');
    await using late = await Listener.open(broker, version, `scenebus/${bus.topics.device}/#`);
    await late.next(({ topic }) => topic === bus.topics.availability);
    await late.client.publishAsync(`scenebus/${bus.topics.device}/marker`, 'x', { qos: 1 });
    await late.next(({ topic }) => topic.endsWith('/marker'));
    expect(late.messages.filter(({ topic }) => topic.includes('/camera/'))).toEqual([]);
  });

  test('finds the version by itself', async () => {
    await using bus = await connectBus({ url: broker.url, device: 'auto' });
    expect(bus.protocolVersion).toBe(negotiates);
  });
});
