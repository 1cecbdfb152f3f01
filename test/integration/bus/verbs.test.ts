/** Every verb, event and setting of the contract between a device and a client, on every broker and version. */
import {
  type BusClient,
  connectClient,
  type WatchDefinition,
  type WatchEvent,
  type WatchReport,
} from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bus, type BusOptions, busSchemas, connectBus, type EventInput } from '#sdk/bus/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { BROKERS, Listener, startProxy, type TestBroker, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const { frame, model, answer } = observation();
const DOOR: WatchDefinition = {
  id: 'door',
  question: 'Is the door open?',
  answerType: 'yes-no',
  cameras: ['cam0'],
  agree: { count: 2, of: 3 },
  schedule: [{ days: ['mon', 'fri'], from: '08:00', to: '17:30' }],
  region: [
    [0, 0],
    [0.5, 0],
    [0.5, 1],
  ],
};

function eventOf(number: number, change: Partial<EventInput> = {}): EventInput {
  return {
    ...{ frame, model, watch: 'door', eventId: `e${number}`, type: 'new', question: DOOR.question },
    ...{ answerType: 'yes-no', value: true, previous: null, probability: 0.97, startedAtMs: frame.capturedAtMs },
    evidence: { objects: answer.objects },
    ...change,
  };
}

describe.each(BROKERS)('the contract against $name', ({ version, start }) => {
  let broker: TestBroker;
  let client: BusClient;
  beforeAll(async () => {
    broker = await start();
    client = await connectClient({ url: broker.url, protocolVersion: version });
  });
  afterAll(async () => {
    await client.close();
    await broker[Symbol.asyncDispose]();
  });
  let devices = 0;
  const open = (options: Partial<BusOptions> = {}): Promise<Bus> =>
    connectBus({ url: broker.url, device: `dev${++devices}`, protocolVersion: version, ...options });
  const nameOf = (bus: Bus): string => bus.topics.device;

  test('describes', async () => {
    await using bus = await open();
    const asked: unknown[] = [];
    bus.handle('describe', async (request) => {
      asked.push(request);
      return { ...observation('A cup.'), camera: 'cam0' };
    });
    const reply = await client.describe(nameOf(bus), { prompt: 'Briefly.', priority: 'low' });
    expect(reply).toMatchObject({ device: nameOf(bus), camera: 'cam0', text: 'A cup.', generatedByModel: true });
    expect(asked[0]).toMatchObject({ prompt: 'Briefly.', priority: 'low' });
  });

  test('locates objects by their names, and says which it did not find', async () => {
    await using bus = await open();
    bus.handle('locate', async ({ objects }) => ({
      ...{ frame, model, objects: answer.objects, notFound: objects.slice(1), notices: ['The frame is 3 s old.'] },
    }));
    const reply = await client.locate(nameOf(bus), ['red cup', 'unicorn']);
    expect(reply).toMatchObject({ notFound: ['unicorn'], notices: ['The frame is 3 s old.'] });
    expect(reply.objects).toEqual(answer.objects);
    expect((await client.locate(nameOf(bus), 'red cup')).notFound).toEqual([]);
  });

  test('sends the picture as it was given', async () => {
    await using bus = await open();
    const jpeg = Uint8Array.from({ length: 100_000 }, (_, index) => index % 256);
    bus.handle('snapshot', async ({ maxWidth = 0 }) => ({ frame, jpeg, width: maxWidth, height: 240 }));
    const reply = await client.snapshot(nameOf(bus), { maxWidth: 320 });
    expect(reply).toMatchObject({ frameId: frame.id, width: 320, height: 240 });
    expect(reply.jpeg).toEqual(jpeg);
  });

  test('finds kept frames of what a text describes', async () => {
    await using bus = await open();
    const found = {
      ...{ camera: 'cam0', frameId: 'cam0-7', frameTs: '2026-11-30T08:00:00.000Z', frameRun: 'r1' },
      ...{ image: { width: 640, height: 480 }, description: 'A red cup.', score: 1.5, thumbnail: null },
    };
    const asked: unknown[] = [];
    bus.handle('find', async (request) => {
      asked.push(request);
      return { frames: [found], rankedBy: 'words', looked: 0, notices: ['There is no model.'] };
    });
    const reply = await client.find(nameOf(bus), 'a red cup near the book');
    expect(reply).toEqual({
      ...{ frames: [found], rankedBy: 'words', looked: 0, notices: ['There is no model.'] },
      device: nameOf(bus),
    });
    await client.find(nameOf(bus), { text: 'a cup', camera: 'cam0', fromMs: 1, toMs: 2, limit: 3, candidates: 4 });
    expect(asked).toMatchObject([{ text: 'a red cup near the book' }, { camera: 'cam0', limit: 3, candidates: 4 }]);
    await expect(client.find(nameOf(bus), { text: 'a cup', limit: 51 })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
  });

  test('tells its health when asked: what was published last, or what a handler says', async () => {
    await using bus = await open();
    const ask = () => client.request(nameOf(bus), 'health', {});
    await expect(ask()).rejects.toMatchObject({ code: 'ERR_BUSY', details: { retryAfterMs: expect.any(Number) } });
    await bus.publishHealth({ state: 'running', uptimeSeconds: 7, problems: [] });
    expect((await ask()).data).toEqual({ state: 'running', uptimeSeconds: 7, problems: [] });
    bus.handle('health', async () => ({ state: 'degraded', uptimeSeconds: 8, problems: [] }));
    expect((await ask()).data.state).toBe('degraded');
  });

  test('adds, changes, lists and removes watches', async () => {
    await using bus = await open();
    const watches = new Map<string, WatchReport>();
    const unknown = (id: string) =>
      new SdkError('ERR_REQUEST_INVALID', `Expected the id of a watch, but ${id} is none.`);
    bus.handle('watch/add', async ({ watch }) => {
      const report: WatchReport = { watch, origin: 'bus', cameras: [] };
      watches.set(watch.id, report);
      return { watch: report };
    });
    bus.handle('watch/change', async ({ id, changes: { region, quietSeconds } }) => {
      const report = watches.get(id);
      if (report === undefined) throw unknown(id);
      const { region: _old, ...watch } = report.watch;
      const changed = { ...watch, ...(region ? { region } : {}), ...(quietSeconds ? { quietSeconds } : {}) };
      return { watch: { ...report, watch: changed } };
    });
    bus.handle('watch/remove', async ({ id }) => {
      if (!watches.delete(id)) throw unknown(id);
      return { id };
    });
    bus.handle('watch/list', async () => ({ watches: [...watches.values()] }));
    const device = nameOf(bus);
    expect(await client.watch(device, DOOR)).toEqual({ watch: DOOR, origin: 'bus', cameras: [] });
    const { region: _, ...rest } = DOOR;
    const changes = { region: null, quietSeconds: 30 };
    expect((await client.changeWatch(device, 'door', changes)).watch).toEqual({ ...rest, quietSeconds: 30 });
    expect(await client.listWatches(device)).toHaveLength(1);
    await client.removeWatch(device, 'door');
    expect(await client.listWatches(device)).toEqual([]);
    await expect(client.removeWatch(device, 'door')).rejects.toMatchObject({ code: 'ERR_REQUEST_INVALID' });
    for (const id of ['../x', 'a/b', '', '+', 'a b', '.']) {
      await expect(client.watch(device, { ...DOOR, id }), id).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    }
    const wrong = { ...DOOR, choices: ['a', 'b'] };
    await expect(client.watch(device, wrong)).rejects.toMatchObject({ message: expect.stringMatching(/choices/) });
  });

  test('says in info which verbs it answers, also those that come later, and refuses the others', async () => {
    await using bus = await open();
    await bus.publishInfo({ versions: {}, model: null, cameras: [] });
    const infos = client.info(nameOf(bus));
    expect((await infos.next()).value?.verbs).toEqual(['ask', 'health']);
    bus.handle('locate', async () => ({ frame, model, objects: [], notFound: [] }));
    expect((await infos.next()).value?.verbs).toEqual(['ask', 'locate', 'health']);
    await infos.return?.();
    await expect(client.snapshot(nameOf(bus))).rejects.toMatchObject({
      code: 'ERR_REQUEST_UNSUPPORTED',
      retryable: false,
      message: expect.stringMatching(/snapshot/),
    });
  });

  test('gives typed answers, and pieces of a text as they come', async () => {
    await using bus = await open();
    bus.onAsk(async ({ answerType, choices }, { partial }) => {
      for (const piece of ['It is ', 'red', '.']) partial?.(piece);
      await until(() => bus.stats.published >= 2);
      const value = answerType === 'choice' ? choices?.[1] : undefined;
      const typed = value === undefined ? {} : { value, probability: 0.75 };
      return { ...observation(), answer: { ...answer, text: 'It is red.', ...typed } };
    });
    const pieces: string[] = [];
    const question = { question: 'Which colour?', answerType: 'choice', choices: ['blue', 'red'] } as const;
    const reply = await client.ask(
      nameOf(bus),
      { ...question, choices: [...question.choices] },
      { onText: (t) => pieces.push(t) },
    );
    expect(reply).toMatchObject({ text: 'It is red.', value: 'red', probability: 0.75 });
    expect('It is red.'.startsWith(pieces.join(''))).toBe(true);
    expect(pieces[0]).toBe('It is ');
  });

  test('publishes events in order, not retained, each fitting its schema; a watch’s state is retained', async () => {
    await using bus = await open();
    await using listener = await Listener.open(broker, version, `scenebus/${nameOf(bus)}/#`);
    const heard: WatchEvent[] = [];
    const stop = client.onEvent(nameOf(bus), (event) => heard.push(event), { watch: 'door' });
    const state = { frame, model, question: DOOR.question, answerType: 'yes-no', value: true } as const;
    await bus.publishWatchState('cam0', 'door', { ...state, probability: null, eventId: 'e0', sinceMs: 0 });
    const states = client.watchStates(nameOf(bus), { watch: 'door' });
    expect((await states.next()).value).toMatchObject({ camera: 'cam0', value: true, eventId: 'e0' });
    // The client subscribes in the background; a first event that is heard says that it has.
    for (let number = 0; heard.length === 0; number += 1) await bus.publishEvent('cam0', eventOf(1000 + number));
    heard.length = 0;
    await Promise.all([
      ...Array.from({ length: 50 }, (_, number) => bus.publishEvent('cam0', eventOf(number))),
      bus.publishEvent('cam0', eventOf(50, { watch: 'other' })),
      bus.publishEvent('cam0', eventOf(51, { type: 'end', value: false, previous: true, repeated: true })),
    ]);
    await until(() => heard.some(({ eventId }) => eventId === 'e51'));
    expect(heard.filter(({ eventId }) => Number(eventId.slice(1)) < 1000).map(({ eventId }) => eventId)).toEqual([
      ...Array.from({ length: 50 }, (_, number) => `e${number}`),
      'e51',
    ]);
    expect(heard.at(-1)).toMatchObject({
      type: 'end',
      value: false,
      previous: true,
      repeated: true,
      probability: 0.97,
    });
    const raw = listener.on(bus.topics.cameraEvent('cam0'))[0];
    expect(busSchemas.event.parse(raw?.json)).toEqual(raw?.json);
    expect(raw?.packet.retain).toBe(false);
    if (version === 5) expect(raw?.packet.properties?.messageExpiryInterval).toBe(300);
    stop();
    await bus.removeWatch('door');
    await using late = await Listener.open(broker, version, `scenebus/${nameOf(bus)}/#`);
    await late.next(({ topic }) => topic === bus.topics.availability);
    await late.client.publishAsync(`scenebus/${nameOf(bus)}/marker`, 'x', { qos: 1 });
    await late.next(({ topic }) => topic.endsWith('/marker'));
    expect(late.messages.filter(({ topic }) => topic.includes('/camera/'))).toEqual([]);
    await states.return?.();
  });

  test('keeps events through an outage, or leaves them to whoever keeps them itself', async () => {
    await using proxy = await startProxy(broker.port);
    const backoff = { initialMs: 5, maxMs: 20 };
    await using bus = await open({ url: proxy.url, backoff });
    await using listener = await Listener.open(broker, version, bus.topics.cameraEvent('cam0'));
    proxy.close();
    await until(() => bus.state === 'offline');
    expect(await bus.publishEvent('cam0', eventOf(1))).toBe('queued');
    await expect(bus.publishEvent('cam0', eventOf(2), { queue: false })).rejects.toMatchObject({
      code: 'ERR_BUS_UNREACHABLE',
      retryable: true,
    });
    proxy.open();
    await until(() => bus.state === 'online');
    expect(await bus.publishEvent('cam0', eventOf(3), { queue: false })).toBe('delivered');
    await until(() => listener.messages.length === 2);
    expect(listener.messages.map(({ json }) => json.eventId)).toEqual(['e1', 'e3']);
  });

  test('switches camera settings, refuses retained and senseless commands, and says what holds', async () => {
    await using bus = await open();
    const device = nameOf(bus);
    const commands: unknown[] = [];
    bus.onSetting(async (...command) => {
      commands.push(command);
      const [camera, setting, value] = command;
      if (camera === 'gone') throw new Error('No such camera.');
      await bus.publishCameraSetting(camera, setting, value);
    });
    await bus.publishCameraSetting('cam0', 'privacy', false);
    const settings = client.cameraSettings(device, { camera: 'cam0' });
    expect((await settings.next()).value).toMatchObject({ setting: 'privacy', value: false });
    await client.setCamera(device, 'cam0', 'privacy', true);
    expect((await settings.next()).value).toMatchObject({ setting: 'privacy', value: true });
    await using raw = await Listener.open(broker, version, bus.topics.cameraSetting('cam0', 'privacy'));
    const topic = bus.topics.settingCommand('cam0', 'privacy');
    const say = (text: string, retain = false) => raw.client.publishAsync(topic, text, { qos: 1, retain });
    await say('false');
    expect((await settings.next()).value).toMatchObject({ value: false });
    for (const wrong of ['OFF', '"on"', '{"value":1}', '{"value":true,"x":1}', '', '['.repeat(900)]) {
      const before = bus.stats.commandsRefused;
      await say(wrong);
      // What holds is said again, for whoever believes that the command worked.
      expect((await settings.next()).value, wrong).toMatchObject({ value: false });
      expect(bus.stats.commandsRefused).toBe(before + 1);
    }
    await client.setCamera(device, 'gone', 'privacy', true);
    await until(() => bus.stats.commandsRefused === 7);
    if (version === 5) {
      await say('true', true);
      await until(() => bus.stats.commandsRefused === 8);
      await say('', true);
    }
    expect(commands).toEqual([
      ['cam0', 'privacy', true],
      ['cam0', 'privacy', false],
      ['gone', 'privacy', true],
    ]);
    await settings.return?.();
  });

  test('refuses a command that waited retained for the device', async () => {
    const device = `waiting${version}`;
    const topic = `scenebus/${device}/camera/cam0/privacy/set`;
    await using early = await Listener.open(broker, version, 'scenebus/none');
    await early.client.publishAsync(topic, 'true', { qos: 1, retain: true });
    await using bus = await open({ device });
    let commands = 0;
    bus.onSetting(() => {
      commands += 1;
    });
    await until(() => bus.stats.commandsRefused === 1);
    expect(commands).toBe(0);
    await early.client.publishAsync(topic, '', { qos: 1, retain: true });
  });

  test('answers the same transaction once, and a question past its deadline with a refusal', async () => {
    await using bus = await open();
    let asks = 0;
    bus.onAsk(async ({ question }) => {
      asks += 1;
      return observation(question);
    });
    const answers = `scenebus/client/raw${devices}/response`;
    await using raw = await Listener.open(broker, version, answers);
    const ask = (body: object) =>
      raw.client.publishAsync(bus.topics.request('ask'), JSON.stringify({ responseTopic: answers, ...body }), {
        qos: 1,
      });
    for (let n = 0; n < 3; n += 1) await ask({ question: 'Who?', transaction: 'same' });
    await ask({ question: 'Too late?', transaction: 'late', deadlineMs: Date.now() - 1 });
    await ask({ question: 'Done?', transaction: 'last' });
    await raw.next(({ json }) => json?.transaction === 'last');
    expect(raw.messages.map(({ json }) => [json.transaction, json.status]).sort()).toEqual([
      ['last', 'ok'],
      ['late', 'error'],
      ['same', 'ok'],
    ]);
    expect(raw.messages.find(({ json }) => json.status === 'error')?.json.error.code).toBe('ERR_REQUEST_EXPIRED');
    expect(asks).toBe(2);
    expect(bus.stats).toMatchObject({ requestsDuplicate: 2, requestsExpired: 1 });
  });

  test.each([
    'constructor',
    '__proto__',
    'hasOwnProperty',
    'status',
    'scene',
    'watch',
    'a b',
    'a.b',
    'a..b',
    '%2e%2e',
    'ünï',
  ])('keeps a camera and a device called %s apart from everything else', async (id) => {
    await using bus = await open({ device: id });
    await using other = await open();
    bus.onAsk(async ({ camera }) => ({ ...observation(), camera }));
    for (const device of [bus, other]) {
      await device.publishScene(id, observation(device.topics.device));
      await device.publishCameraSetting(id, 'watches', true);
    }
    const scenes = client.scenes(id, { camera: id });
    expect((await scenes.next()).value).toMatchObject({ device: id, camera: id, text: id });
    await scenes.return?.();
    expect(await client.ask(id, { question: 'Who?', camera: id })).toMatchObject({ device: id, camera: id });
    await bus.removeCamera(id);
    const states = other.topics;
    await using late = await Listener.open(broker, version, `scenebus/+/camera/${id}/#`);
    await late.next(({ topic }) => topic === states.cameraScene(id));
    await late.next(({ topic }) => topic === states.cameraSetting(id, 'watches'));
    expect(late.messages.filter(({ json }) => json?.device === id)).toEqual([]);
  });

  test.each(['', '.', '..', '+', '#', '/', 'a/b', '../x', 'a+', '$SYS', 'a\u0000', '\n', 'x'.repeat(65)])(
    'refuses %j as the name of a device, camera or watch',
    async (id) => {
      await using bus = await open();
      const invalid = { code: 'ERR_ARGUMENT_INVALID' };
      await expect(open({ device: id })).rejects.toMatchObject(invalid);
      await expect(bus.publishScene(id, observation())).rejects.toMatchObject(invalid);
      await expect(bus.publishEvent(id, eventOf(1))).rejects.toMatchObject(invalid);
      await expect(bus.publishEvent('cam0', eventOf(1, { watch: id }))).rejects.toMatchObject(invalid);
      await expect(bus.publishCameraSetting(id, 'privacy', true)).rejects.toMatchObject(invalid);
      await expect(bus.removeCamera(id)).rejects.toMatchObject(invalid);
      await expect(client.ask(id, 'Who?')).rejects.toMatchObject(invalid);
      await expect(client.ask('dev', { question: 'Who?', camera: id })).rejects.toMatchObject(invalid);
      await expect(client.setCamera('dev', id, 'privacy', true)).rejects.toMatchObject(invalid);
      expect(() => client.scenes('dev', { camera: id })).toThrow(expect.objectContaining(invalid));
    },
  );
});
