/** The service as a whole: a real clip through OpenCV, the demo model at int4, real brokers. */
import { type CallOptions, type Camera, openCamera, SdkError, type VisionLanguageModel } from 'scenebus';
import { connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceParts } from '#device/app/device-parts.js';
import { freePort, Listener, type Received, startMosquitto, type TestBroker } from '../../support/brokers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { deviceName, lend, loadDemoModel, makeConfig, startService, topic } from './demo-device.js';

let model: VisionLanguageModel;
let broker: TestBroker;
let cacheDirectory: string;
beforeAll(async () => {
  cacheDirectory = await makeTemporaryFolder('scenebus-service-');
  model = await loadDemoModel(cacheDirectory);
  broker = await startMosquitto();
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

const withBroker = (url: string) => ({ broker: { url } });
/** A health message of this run: what earlier tests left on the broker does not count. */
const stateIs =
  (state: string) =>
  ({ topic: name, json, packet }: Received) =>
    name === topic('health') && json.state === state && !packet.retain;

describe('a device on a broker', () => {
  test('says who it is, what its camera does and what it sees; and that it stopped', async () => {
    await using listener = await Listener.open(broker, 5);
    const service = await startService(await makeConfig(withBroker(broker.url)), { parts: lend(model) });
    const scene = await listener.next(({ topic: name }) => name === topic('camera/table/scene'));
    expect(scene.json).toMatchObject({
      camera: 'table',
      trigger: 'first',
      generatedByModel: true,
      image: { width: 640, height: 480 },
      model: { id: model.info.name, hash: model.info.contentHash },
    });
    expect(scene.json.text).toMatch(/cup|book/);
    const info = await listener.next(({ topic: name, json }) => name === topic('info') && json.model !== null);
    expect(info.json).toMatchObject({ cameras: ['table'], model: { weights: 'int4', writesBoxes: true } });
    const running = ({ topic: name, json }: Received) =>
      name === topic('camera/table/status') && json.state === 'running';
    expect((await listener.next(running)).json.image).toEqual({ width: 640, height: 480 });
    expect(service.state).toBe('running');

    await service.stop();
    expect(service.state).toBe('stopped');
    await listener.next(({ topic: name, json }) => name === topic('availability') && json.state === 'stopped');
    expect(listener.on(topic('camera/table/status')).at(-1)?.json.state).toBe('stopped');
  });

  test('answers a question with objects in its newest frame', async () => {
    await using service = await startService(await makeConfig(withBroker(broker.url)), { parts: lend(model) });
    await using client = await connectClient(broker.url);
    const reply = await client.ask(deviceName, 'List all objects with their boxes.');
    expect(reply).toMatchObject({ device: deviceName, camera: 'table', generatedByModel: true });
    expect(reply.objects.length).toBeGreaterThan(0);
    for (const { box, source } of reply.objects) {
      expect(source).toBe('text');
      expect(box.x2).toBeGreaterThan(box.x1);
    }
    expect(service.bus.stats.requestsAnswered).toBe(1);
  });

  test('answers with a value that fits the schema or the type that was asked for', async () => {
    await using _service = await startService(await makeConfig(withBroker(broker.url)), { parts: lend(model) });
    await using client = await connectClient(broker.url);
    const properties = { label: { enum: ['cup', 'book'] }, count: { type: 'integer', minimum: 0, maximum: 9 } };
    const answerSchema = { type: 'object', properties, required: ['label', 'count'], additionalProperties: false };
    const question = 'What is on the table?';
    const reply = await client.ask(deviceName, { question, answerSchema });
    expect(reply.value).toEqual(JSON.parse(reply.text));
    expect(Object.keys(reply.value as object)).toEqual(['label', 'count']);
    const decided = await client.ask(deviceName, { question: 'Is there a cup?', answerType: 'yes-no' });
    expect(decided).toMatchObject({ value: expect.any(Boolean), probability: expect.any(Number) });

    for (const [schema, code] of [
      [{ type: 'array', uniqueItems: true }, 'ERR_SCHEMA_UNSUPPORTED'],
      [{ not: {} }, 'ERR_SCHEMA_UNSATISFIABLE'],
      [{ type: 'object', properties: { next: { $ref: '#' } }, required: ['next'] }, 'ERR_SCHEMA_UNSATISFIABLE'],
      [{ type: 'float' }, 'ERR_SCHEMA_INVALID'],
      [{ enum: Array.from({ length: 10_000 }, (_, i) => `value ${i}`) }, 'ERR_REQUEST_TOO_LARGE'],
      [{ enum: Array.from({ length: 120_000 }, (_, i) => `a value, number ${i}`) }, 'ERR_REQUEST_TOO_LARGE'],
    ] as const) {
      await expect(client.ask(deviceName, { question, answerSchema: schema })).rejects.toMatchObject({ code });
    }
    const values = Array.from({ length: 5_000 }, (_, i) => `v${i}`);
    expect(values).toContain((await client.ask(deviceName, { question, answerSchema: { enum: values } })).value);
  });

  test("a stranger's schema that would take all time and memory is stopped, and holds up nobody", async () => {
    await using listener = await Listener.open(broker, 5);
    await using _service = await startService(await makeConfig(withBroker(broker.url)), { parts: lend(model) });
    await using client = await connectClient(broker.url);
    const question = 'What is on the table?';
    const answerSchema = { type: 'string', pattern: '(a|b)*a(a|b){24}$' };
    const send = (transaction: string, more: object) => {
      const request = JSON.stringify({ question, answerSchema, transaction, ...more });
      return listener.client.publishAsync(topic('request/ask'), request, { qos: 1 });
    };
    const answers = () => listener.on(topic('response/ask')).map(({ json }) => [json.transaction, json.error?.code]);
    await send('patient', {});
    await send('hurried', { timeoutMs: 300 });
    // Others are answered while the threads of both are busy.
    expect((await client.ask(deviceName, question)).text).not.toBe('');
    await listener.next(() => answers().length === 2);
    expect(answers().sort()).toEqual([
      ['hurried', 'ERR_REQUEST_EXPIRED'],
      ['patient', 'ERR_LIMIT_EXCEEDED'],
    ]);
    expect((await client.ask(deviceName, question)).text).not.toBe('');
  });

  test('tells in health what was computed and what was still there', async () => {
    await using listener = await Listener.open(broker, 5);
    const cameras = [{ id: 'table', address: 'test:moving', describe: false }];
    const service = await startService(await makeConfig({ cameras, ...withBroker(broker.url) }), {
      parts: lend(model),
    });
    await using client = await connectClient(broker.url);
    const ask = () => client.ask(deviceName, 'List all objects with their boxes.');
    const replies = [await ask(), await ask(), await ask()];
    await service[Symbol.asyncDispose]();
    const { json } = await listener.next(stateIs('stopping'));
    const total = (name: string) => replies.reduce((sum, { usage }) => sum + usage![name]!, 0);
    for (const name of [
      'promptTokens',
      'generatedTokens',
      'reusedTokens',
      'acceptedTokens',
      'images',
      'reusedImages',
    ]) {
      expect(json.metrics[name], name).toBe(total(name));
    }
    expect(json.metrics.images).toBe(3);
    expect(json.metrics.reusedTokens).toBeGreaterThan(0); // what stands before the picture
  });

  test('refuses bad questions one by one and goes on', async () => {
    await using service = await startService(await makeConfig(withBroker(broker.url)), { parts: lend(model) });
    await using listener = await Listener.open(broker, 5, 'test/#');
    const ask = async (payload: string | Buffer) => {
      const responseTopic = `test/${listener.messages.length}-${Math.random()}`;
      await listener.client.publishAsync(topic('request/ask'), payload, {
        qos: 1,
        properties: { responseTopic: `scenebus/${responseTopic}` },
      });
    };
    await listener.client.subscribeAsync('scenebus/test/#', { qos: 1 });
    const errors = async (count: number) => {
      await listener.next(() => listener.messages.length >= count);
      return listener.messages.map(({ json }) => json.error?.code);
    };
    await ask('{"question": "Where is');
    await ask('[]');
    await ask('{"question": 5}');
    await ask('{"question": "Who is there?", "colour": "red"}');
    await ask(`{"question": "${'x'.repeat(5_000)}"}`);
    await ask(Buffer.alloc(10 * 2 ** 20, 'x'));
    await ask('{"question": "Who is there?", "camera": "attic"}');
    expect((await errors(7)).sort()).toEqual([...Array(6).fill('ERR_REQUEST_INVALID'), 'ERR_REQUEST_TOO_LARGE']);

    await using client = await connectClient(broker.url);
    expect((await client.ask(deviceName, 'Is there a book?')).text).not.toBe('');
    expect(service.state).toBe('running');
  });

  test('needs to know which camera when there are several', async () => {
    const cameras = [
      { id: 'left', address: 'test:moving', describe: false },
      { id: 'right', address: 'test:moving', describe: false },
    ];
    const config = await makeConfig({ cameras, ...withBroker(broker.url) });
    await using _service = await startService(config, { parts: lend(model) });
    await using client = await connectClient(broker.url);
    await expect(client.ask(deviceName, 'What is there?')).rejects.toThrow(/one of left, right/);
    const reply = await client.ask(deviceName, { question: 'What is there?', camera: 'right' });
    expect(reply.camera).toBe('right');
  });

  test('answers ERR_BUSY when too many questions wait, and the others all the same', async () => {
    const config = await makeConfig({ ask: { queueLength: 1 }, ...withBroker(broker.url) });
    const parts: DeviceParts = {
      openCamera,
      loadModel: (_, { maxWaiting }) => loadDemoModel(cacheDirectory, { maxWaiting }),
    };
    await using _service = await startService(config, { parts });
    await using client = await connectClient(broker.url);
    const replies = await Promise.allSettled(
      Array.from({ length: 6 }, () => client.ask(deviceName, 'List all objects with their boxes.')),
    );
    const refused = replies.filter((reply) => reply.status === 'rejected').map((reply) => reply.reason.code);
    expect(new Set(refused)).toEqual(new Set(['ERR_BUSY']));
    expect(replies.length - refused.length).toBeGreaterThanOrEqual(1);
  });
});

describe('without a configured broker', () => {
  test('brings its own on loopback', async () => {
    await using service = await startService(await makeConfig(), { parts: lend(model) });
    expect(service.bus.broker).toMatch(/^mqtt:\/\/127\.0\.0\.1:\d+$/);
    await using client = await connectClient(service.bus.broker);
    expect((await client.ask(deviceName, 'Is there a book?')).text).not.toBe('');
  });
});

describe('trouble', () => {
  test('with a broker that is not there is an error, where one is required', async () => {
    const config = await makeConfig(withBroker(`mqtt://127.0.0.1:${await freePort()}`));
    const start = startService(config, { parts: lend(model) });
    await expect(start).rejects.toMatchObject({ code: 'ERR_BUS_UNREACHABLE' });
  });

  test('with a broker that comes late or goes away degrades the device until it is back', async () => {
    await using late = await startMosquitto();
    await late.kill();
    const config = await makeConfig(withBroker(late.url));
    await using service = await startService(config, { parts: lend(model), requireBroker: false });
    const becomes = async (state: string) => {
      while (service.state !== state) await new Promise((resolve) => service.hub.on('problem', resolve));
    };
    await becomes('degraded');
    await late.restart();
    await becomes('running');
    await using client = await connectClient(late.url);
    expect((await client.ask(deviceName, 'Is there a book?')).text).not.toBe('');
  });

  test('with one camera leaves the others working, and questions about it are told why', async () => {
    const cameras = [
      { id: 'table', address: 'test:moving', describe: false },
      { id: 'door', address: '/dev/video97', describe: false, openTimeoutMs: 5_000, timeoutMs: 5_000 },
    ];
    const config = await makeConfig({ cameras, ...withBroker(broker.url) });
    await using listener = await Listener.open(broker, 5);
    await using service = await startService(config, { parts: lend(model) });
    await listener.next((message) => {
      return stateIs('degraded')(message) && message.json.problems[0].code === 'ERR_CAPTURE_NOT_FOUND';
    });
    await using client = await connectClient(broker.url);
    const about = (camera: string) => client.ask(deviceName, { question: 'What is there?', camera });
    await expect(about('door')).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_CAPTURE_/) });
    expect((await about('table')).camera).toBe('table');
    expect(service.state).toBe('degraded');
  });

  test('with a camera that hangs does not hold up questions about the others', async () => {
    const cameras = [
      { id: 'table', address: 'test:moving', describe: false },
      { id: 'hanging', address: 'hanging', describe: false },
    ];
    const open: typeof openCamera = async (address, options) =>
      address.endsWith('hanging') ? hangingCamera() : await openCamera(address, options);
    await using _service = await startService(await makeConfig({ cameras, ...withBroker(broker.url) }), {
      parts: lend(model, { openCamera: open }),
    });
    await using client = await connectClient(broker.url);
    const given = new AbortController();
    const first = client.ask(deviceName, { question: 'What is there?', camera: 'hanging' }, { signal: given.signal });
    const end = expect(first).rejects.toThrow('enough');
    const second = await client.ask(deviceName, { question: 'What is there?', camera: 'table' });
    expect(second.camera).toBe('table');
    given.abort(new Error('enough'));
    await end;
  });

  test('with the engine is answered with a typed error while the model is loaded again', async () => {
    let failures = 0;
    const parts = lend(model);
    const dying = {
      ...parts,
      loadModel: async (...args: Parameters<typeof parts.loadModel>) => {
        const loaded = await parts.loadModel(...args);
        if (failures > 0) return loaded;
        const ask = async (): Promise<never> => {
          failures++;
          throw new SdkError('ERR_ENGINE_DIED', 'The engine ended.');
        };
        return { ...loaded, ask };
      },
    };
    const cameras = [{ id: 'table', address: 'test:moving', describe: false }];
    await using listener = await Listener.open(broker, 5);
    await using service = await startService(await makeConfig({ cameras, ...withBroker(broker.url) }), {
      parts: dying,
    });
    await using client = await connectClient(broker.url);
    await expect(client.ask(deviceName, 'What is there?')).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    expect(service.state).toBe('degraded');
    await listener.next(stateIs('degraded'));
    await listener.next((message) => stateIs('running')(message) && message.json.metrics.modelRestarts === 1);
    expect((await client.ask(deviceName, 'What is there?')).text).not.toBe('');
  });

  test('with the model folder ends the start, and leaves `stopped` on the bus', async () => {
    await using listener = await Listener.open(broker, 5);
    const missing = lend(model, {
      loadModel: async () => {
        throw new SdkError('ERR_MODEL_NOT_FOUND', 'no such folder');
      },
    });
    const before = listener.on(topic('availability')).length;
    const start = startService(await makeConfig(withBroker(broker.url)), { parts: missing });
    await expect(start).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
    await listener.next(() => {
      const states = listener.on(topic('availability')).slice(before);
      return states.some(({ json }) => json.state === 'online') && states.at(-1)?.json.state === 'stopped';
    });
  });
});

describe('a wrong camera address', () => {
  test('makes that camera `failed` and leaves the others and the device at work', async () => {
    const cameras = [
      { id: 'wrong', address: 'gopher://x' },
      { id: 'table', address: 'test:moving' },
    ];
    await using listener = await Listener.open(broker, 5);
    const config = await makeConfig({ cameras, ...withBroker(broker.url) });
    await using service = await startService(config, { parts: lend(model) });
    const status = await listener.next(
      ({ topic: on, json }) => on === topic('camera/wrong/status') && json.state === 'failed',
    );
    expect(status.json.reason).toMatchObject({ code: 'ERR_CAPTURE_ADDRESS_INVALID' });
    expect(service.state).toBe('degraded');
    await using client = await connectClient(broker.url);
    await expect(client.ask(deviceName, { question: 'What is there?', camera: 'wrong' })).rejects.toMatchObject({
      code: 'ERR_CAPTURE_ADDRESS_INVALID',
    });
    expect((await client.ask(deviceName, { question: 'What is there?', camera: 'table' })).text).not.toBe('');
  });
});

describe('descriptions', () => {
  test('come again after the longest silence when nothing changes, and from the newest frame', async () => {
    const config = await makeConfig({
      cameras: [{ id: 'table', address: 'test:checker' }],
      describe: { minIntervalSeconds: 0, maxSilenceSeconds: 1, change: { mean: 255, block: 255 } },
      ...withBroker(broker.url),
    });
    await using listener = await Listener.open(broker, 5);
    await using _service = await startService(config, { parts: lend(model) });
    const scenes = () => listener.on(topic('camera/table/scene')).filter(({ packet }) => !packet.retain);
    await listener.next(() => scenes().length >= 2);
    const [first, second] = scenes();
    expect(first?.json.trigger).toBe('first');
    expect(second?.json.trigger).toBe('interval');
    expect(second?.json.frameId).not.toBe(first?.json.frameId);
  });
});

/** Opens, and then never has a frame. */
function hangingCamera(): Camera {
  const untilAborted = (options?: CallOptions) =>
    new Promise<never>((_, reject) => {
      options?.signal?.addEventListener('abort', () => reject(options.signal?.reason), { once: true });
    });
  const status = { state: 'opening', sinceMs: Date.now() } as const;
  async function* nothing(): AsyncGenerator<never> {}
  return {
    info: {
      id: 'hanging',
      address: 'hanging',
      kind: 'test',
      size: undefined,
      framesPerSecond: undefined,
      backend: undefined,
    },
    status,
    newestFrameAtMs: undefined,
    newestFrameAtMonotonicMs: undefined,
    newestSequence: 0,
    read: untilAborted,
    frames: nothing,
    statusChanges: nothing,
    [Symbol.asyncIterator]: nothing,
    [Symbol.asyncDispose]: async () => {},
  };
}
