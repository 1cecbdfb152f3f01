/** What callers ask of a running service, plain questions aside, over a real broker, with the demo model. */

import { decodeImage, type VisionLanguageModel } from 'scenebus';
import { type BusClient, connect } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import { runCli } from '#device/cli/program.js';
import { Listener, startEmbedded, type TestBroker, until } from '../../support/brokers.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { borrow, clip, deviceName, lend, loadDemoModel, makeConfig, startService, topic } from './demo-device.js';

let broker: TestBroker;
let model: VisionLanguageModel;
let service: DeviceService;
let client: BusClient;
let listener: Listener;
let gate: Gate;
let journal: { enabled: true; frames: true; directory: string };

/** Holds up questions at the model's door and lets all in at once, in the order they came in. */
class Gate {
  readonly model: VisionLanguageModel;
  readonly #waiting: (() => void)[] = [];
  #isShut = false;

  constructor(model: VisionLanguageModel) {
    const ask = async (...all: Parameters<VisionLanguageModel['ask']>) => {
      if (this.#isShut) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      return await model.ask(...all);
    };
    this.model = { ...borrow(model), ask: ask as VisionLanguageModel['ask'] };
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  shut(): void {
    this.#isShut = true;
  }

  open(): void {
    this.#isShut = false;
    for (const enter of this.#waiting.splice(0)) enter();
  }
}

const config = async () =>
  makeConfig({
    broker: { url: broker.url },
    cameras: [{ id: 'table', address: clip, loop: true }],
    snapshots: true,
    journal,
  });

beforeAll(async () => {
  broker = await startEmbedded();
  journal = { enabled: true, frames: true, directory: await makeTemporaryFolder('scenebus-verbs-state-') };
  model = await loadDemoModel(await makeTemporaryFolder('scenebus-verbs-'));
  listener = await Listener.open(broker, 4);
  gate = new Gate(model);
  service = await startService(await config(), { parts: lend(gate.model) });
  client = await connect({ url: broker.url });
});
afterAll(async () => {
  await client.close();
  await service.stop();
  await listener[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

const publish = (rest: string, payload: string, retain = false) =>
  listener.client.publishAsync(topic(rest), payload, { qos: 1, retain });

describe('a running service', () => {
  test('describes, with boxes, in pieces where wanted', async () => {
    const pieces: string[] = [];
    const whole = await client.describe(deviceName, {}, { onText: (piece) => pieces.push(piece) });
    expect(pieces.length).toBeGreaterThan(0);
    expect(pieces.join('')).toBe(whole.text);
    expect(whole.text).toMatch(/^An? /);
    expect(whole.objects.length).toBeGreaterThan(0);
    expect(whole.objects.every(({ label }) => whole.text.toLowerCase().includes(label))).toBe(true);
  });

  test('locates things by their names and says which are not there', async () => {
    const { data } = await client.request(deviceName, 'locate', { objects: ['red cup', 'purple robot'] });
    expect(data.notFound).toContain('purple robot');
    expect(data.objects.every(({ label }) => label === 'red cup')).toBe(true);
  });

  test('says with an answer that pictures are asked about in English', async () => {
    const german = await client.ask(deviceName, 'Wo ist die rote Tasse?');
    expect(german.notices?.filter((notice) => notice.includes('looks like German'))).toHaveLength(1);
    const english = await client.ask(deviceName, 'Where is the red cup?');
    expect(english.notices?.filter((notice) => notice.includes('English')) ?? []).toEqual([]);
  });

  test('answers first what has a high priority, whoever came first', async () => {
    const { frameId } = await client.request(deviceName, 'describe', {});
    const ask = (transaction: string, priority: string) =>
      publish(
        'request/ask',
        JSON.stringify({ question: 'How many objects are there?', frameId, transaction, priority }),
      );
    // Through the gate as they were published: one at a time, or two of them could overtake each other on the way to it.
    const enter = async (coming: Promise<unknown>) => {
      const before = gate.waiting;
      await Promise.all([coming, until(() => gate.waiting > before)]);
    };
    gate.shut();
    await enter(ask('low-1', 'low'));
    for (const number of [1, 2, 3, 4]) await enter(ask(`normal-${number}`, 'normal'));
    for (const number of [1, 2]) await enter(ask(`high-${number}`, 'high'));
    const terminal = captureTerminal();
    // About the same picture: another one would have to be encoded first.
    const about = ['--frame', frameId, '--priority', 'high', '--broker', broker.url];
    const command = ['bus', 'ask', deviceName, 'Is there a book?', ...about];
    const asked = runCli(command, { terminal, environment: {} });
    await until(() => gate.waiting === 8);
    const from = listener.messages.length;
    gate.open();
    const answers = () =>
      listener.messages.slice(from).filter(({ json }) => json?.verb === 'ask' && json.status !== 'partial');
    await until(() => answers().length === 8);
    const order = answers().map(({ json }) => /^(low|normal|high)-/.exec(json.transaction)?.[1] ?? 'command');
    // One may be ahead: the engine begins with whoever enters first, and owes those who wait a share of a long time.
    const isUrgent = (each: string) => each === 'high' || each === 'command';
    expect(order.slice(0, 4).filter(isUrgent).sort()).toEqual(['command', 'high', 'high']);
    expect(await asked).toBe(0);
    expect(terminal.output()).toMatch(/Yes|No/);
  });

  test.each([
    ['a frame that is gone', ['--frame', 'long-ago'], 'ERR_REQUEST_INVALID', /but "long-ago" is gone.*\. Ask about/],
    ['no camera of it', ['--camera', 'roof'], 'ERR_REQUEST_INVALID', /one of table, but received "roof"/],
    [
      'an answer that takes too long',
      ['--timeout', '1'],
      'ERR_(BUS_TIMEOUT|REQUEST_EXPIRED)',
      /within 1000 ms, .*but .*\. Ask again,.* `--timeout SECONDS`/,
    ],
    [
      'a camera that is off',
      [],
      'ERR_CAPTURE_REFUSED',
      /of the camera table, but it is off.*\. Publish false on camera\/t/,
    ],
  ])(
    'asked from the command line about %s, says what it expected, what came and what to do',
    async (what, options, code, words) => {
      const stateOf = topic('camera/table/privacy/state');
      const setPrivacy = async (value: boolean) => {
        await publish('camera/table/privacy/set', String(value));
        await until(() => listener.on(stateOf).at(-1)?.json.value === value);
      };
      if (what.startsWith('an answer')) gate.shut();
      if (what.startsWith('a camera')) await setPrivacy(true);
      const terminal = captureTerminal();
      const command = ['bus', 'ask', deviceName, 'Is there a book?', '--broker', broker.url, ...options];
      expect(await runCli(command, { terminal, environment: {} })).toBe(1);
      gate.open();
      if (what.startsWith('a camera')) await setPrivacy(false);
      const said = terminal
        .errors()
        .split('\n')
        .find((line) => line.startsWith('error '));
      expect(said).toMatch(new RegExp(`^error ${code}: Expected .+, but .+\\.`));
      expect(said).toMatch(words);
    },
  );

  test('finds a frame that it described, by looking at the pictures it kept', async () => {
    const scene = await listener.next((message) => message.topic === topic('camera/table/scene'));
    const find = () => client.find(deviceName, { text: scene.json.text, candidates: 4 });
    // Pictures are written a moment behind what is said of them.
    let found = await find();
    while (found.rankedBy !== 'likelihood') found = await find();
    expect(found.model?.id).toMatch(/\S/);
    expect(found.frames[0]).toMatchObject({
      camera: 'table',
      thumbnail: expect.stringMatching(/^\/api\/frames\/.*thumbnail/),
    });
    expect(found.frames[0]!.score).toBeGreaterThan(0);
    await expect(client.find(deviceName, '…')).rejects.toMatchObject({ code: 'ERR_REQUEST_INVALID' });
  });

  test('gives the picture of a scene, and answers about it', async () => {
    const scene = await listener.next((message) => message.topic === topic('camera/table/scene'));
    const { frameId } = scene.json;
    const fresh = await client.request(deviceName, 'describe', {});
    const { data } = await client.request(deviceName, 'snapshot', { frameId: fresh.frameId, maxWidth: 100 });
    expect(await decodeImage(Buffer.from(data.jpeg, 'base64'))).toMatchObject({
      width: 100,
      height: data.image.height,
    });
    const answer = await client.request(deviceName, 'ask', {
      question: 'How many objects are there?',
      frameId: fresh.frameId,
      answerType: 'number',
    });
    expect(answer.frameId).toBe(fresh.frameId);
    expect(answer.data.value).toBe(fresh.data.objects.length);
    expect(frameId).toMatch(/\S/);
    await expect(client.request(deviceName, 'snapshot', { frameId: 'long-ago' })).rejects.toMatchObject({
      code: 'ERR_REQUEST_INVALID',
      message: expect.stringContaining('is gone'),
    });
  });

  test('switches a camera, tells how it stands, and knows no cameras that are not there', async () => {
    const stateOf = (setting: string) => topic(`camera/table/${setting}/state`);
    await listener.next(({ topic: each, json }) => each === stateOf('privacy') && json.value === false);
    await publish('camera/table/privacy/set', 'true');
    await listener.next(({ topic: each, json }) => each === stateOf('privacy') && json.value === true);
    await expect(client.request(deviceName, 'describe', {})).rejects.toMatchObject({ code: 'ERR_CAPTURE_REFUSED' });
    await publish('camera/constructor/privacy/set', 'true');
    await publish('camera/table/privacy/set', 'false');
    await listener.next(() => listener.on(stateOf('privacy')).at(-1)!.json.value === false);
    expect(listener.messages.some((message) => message.topic.includes('constructor/privacy/state'))).toBe(false);
    expect((await client.request(deviceName, 'describe', {})).status).toBe('ok');
  });

  test('refuses hostile ids of watches, and goes on', async () => {
    const watch = { question: 'Is there a red cup?', answerType: 'yes-no' as const };
    for (const [number, id] of [
      '../x',
      'a/b',
      '+',
      '#',
      '$SYS',
      '',
      'x'.repeat(65),
      '__proto__',
      'é',
      'a b',
    ].entries()) {
      const transaction = `hostile-${number}`;
      await publish('request/watch/add', JSON.stringify({ transaction, watch: { id, ...watch } }));
      const { json } = await listener.next(
        ({ json }) => json?.transaction === transaction && json.status !== undefined,
      );
      expect(json, id).toMatchObject({ status: 'error', error: { code: 'ERR_REQUEST_INVALID' } });
    }
    expect(await client.listWatches(deviceName)).toEqual([]);
  });

  test('knows its watches and settings after a restart', async () => {
    const watch = { id: 'cup', question: 'Is there a red cup?', answerType: 'yes-no' } as const;
    await client.watch(deviceName, watch);
    await publish('camera/table/describe/set', '{"value":false}');
    await listener.next(
      ({ topic: each, json }) => each === topic('camera/table/describe/state') && json.value === false,
    );
    await service.stop();
    service = await startService(await config(), { parts: lend(gate.model) });
    expect(await client.listWatches(deviceName)).toMatchObject([{ watch, origin: 'bus' }]);
    const { run } = service.bus;
    const told = await listener.next(
      ({ topic: each, json }) => each === topic('camera/table/describe/state') && json.run === run,
    );
    expect(told.json).toMatchObject({ value: false });
    await client.removeWatch(deviceName, 'cup');
    expect(await client.listWatches(deviceName)).toEqual([]);
  });
});

test('while the model loads, callers are told to come back', async () => {
  let finish = () => {};
  const loading = new Promise<void>((resolve) => {
    finish = resolve;
  });
  await using second = await startEmbedded();
  const settings = await makeConfig({ broker: { url: second.url } });
  const parts = lend(model);
  const starting = startService(settings, {
    parts: { ...parts, loadModel: async (...all) => loading.then(() => parts.loadModel(...all)) },
  });
  await using caller = await connect({ url: second.url });
  await using heard = await Listener.open(second, 4);
  await heard.next(({ topic: each }) => each === topic('info'));
  for (const [verb, request] of [
    ['describe', {}],
    ['locate', { objects: ['cup'] }],
    ['watch/list', {}],
  ] as const) {
    await expect(caller.request(deviceName, verb, request as never)).rejects.toMatchObject({
      code: 'ERR_BUSY',
      details: { retryAfterMs: expect.any(Number) },
    });
  }
  finish();
  await (await starting).stop();
}, 60_000);
