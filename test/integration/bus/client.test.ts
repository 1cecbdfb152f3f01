import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type BusClient, connectClient, type Scene } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectBus } from '#sdk/bus/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { BROKERS, Listener, startProxy, type TestBroker, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const QUICK = { backoff: { initialMs: 5, maxMs: 20 } } as const;

async function take<T>(source: AsyncIterable<T>, count: number): Promise<T[]> {
  const values: T[] = [];
  for await (const value of source) {
    values.push(value);
    if (values.length === count) break;
  }
  return values;
}

describe.each(BROKERS)('the client against $name', ({ version, start }) => {
  let broker: TestBroker;
  let client: BusClient;
  beforeAll(async () => {
    broker = await start();
    client = await connectClient({ url: broker.url, protocolVersion: version, ...QUICK });
  });
  afterAll(async () => {
    await client.close();
    await broker[Symbol.asyncDispose]();
  });
  const open = (device: string) => connectBus({ url: broker.url, device, protocolVersion: version });

  test('asks a device and gets the grounded answer', async () => {
    await using bus = await open('asked');
    bus.onAsk(async ({ question, camera }) => ({ ...observation(question), camera: camera ?? 'cam0' }));
    const answer = await client.ask('asked', { question: 'Where is the cup?', camera: 'cam7' }, { timeoutMs: 10_000 });
    expect(answer).toMatchObject({
      device: 'asked',
      camera: 'cam7',
      text: 'Where is the cup?',
      frameId: 'cam0-000001',
      generatedByModel: true,
      objects: [{ label: 'red cup', box: { x1: 0.25, y1: 0.5, x2: 0.5, y2: 0.75 } }],
    });
    expect((await client.ask('asked', 'Plain text?')).text).toBe('Plain text?');
  });

  test('gives each of many concurrent questions its own answer', async () => {
    await using bus = await open('many');
    await using other = await connectClient({ url: broker.url, protocolVersion: version });
    const release: (() => void)[] = [];
    bus.onAsk(async ({ question }) => {
      await new Promise<void>((resolve) => release.push(resolve));
      return observation(question);
    });
    const questions = Array.from({ length: 10 }, (_, index) => `question ${index}`);
    const answers = questions.map((question, index) => (index % 2 === 0 ? client : other).ask('many', question));
    await until(() => release.length === 10);
    for (const go of release.reverse()) go();
    expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(questions);
  });

  test('throws the typed error that the device answered', async () => {
    await using bus = await open('failing');
    await expect(client.ask('failing', 'Ready?')).rejects.toMatchObject({ code: 'ERR_BUSY', retryable: true });
    bus.onAsk(async () => {
      throw new SdkError('ERR_CAPTURE_NOT_FOUND', 'No camera cam9.');
    });
    await expect(client.ask('failing', { question: 'Who?', camera: 'cam9' })).rejects.toMatchObject({
      code: 'ERR_CAPTURE_NOT_FOUND',
      message: 'No camera cam9.',
      details: { device: 'failing' },
    });
  });

  test('says at once that a stopped device is not there', async () => {
    const bus = await open('gone');
    await bus.close();
    await expect(client.ask('gone', 'Anybody?')).rejects.toMatchObject({
      code: 'ERR_BUS_UNREACHABLE',
      message: expect.stringMatching(/gone/),
    });
  });

  test('ends a question when the device stops meanwhile', async () => {
    const bus = await open('stopping');
    bus.onAsk(
      (_request, { signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const answer = client.ask('stopping', 'Quick?');
    answer.catch(() => {});
    await until(() => bus.stats.requestsActive === 1);
    await bus.close();
    await expect(answer).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(DISPOSED|BUS_UNREACHABLE)$/) });
  });

  test('says that no device is subscribed: at once where the broker tells, else at the deadline', async () => {
    // MQTT 5 has a reason code for it; a 3.1.1 broker acknowledges and drops the question.
    const expected =
      version === 5
        ? { code: 'ERR_BUS_UNREACHABLE', message: expect.stringMatching(/nothing is subscribed/) }
        : { code: 'ERR_BUS_TIMEOUT', message: expect.stringMatching(/no device of that name/) };
    const timeoutMs = version === 5 ? 60_000 : 100;
    await expect(client.ask('never-seen', 'Anybody?', { timeoutMs })).rejects.toMatchObject(expected);
  });

  test('stops waiting when the caller aborts, with the caller’s reason', async () => {
    await using bus = await open('patient');
    bus.onAsk(
      (_request, { signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const controller = new AbortController();
    const answer = client.ask('patient', 'Slow?', { signal: controller.signal });
    answer.catch(() => {});
    await until(() => bus.stats.requestsActive === 1);
    const reason = new Error('changed my mind');
    controller.abort(reason);
    await expect(answer).rejects.toBe(reason);
    await expect(client.ask('patient', 'Slow?', { signal: controller.signal })).rejects.toBe(reason);
  });

  test('refuses a question or a device name that cannot work', async () => {
    for (const [device, question, options] of [
      ['a/b', 'Who?', {}],
      ['+', 'Who?', {}],
      ['dev', '', {}],
      ['dev', 'x'.repeat(5000), {}],
      ['dev', 'Who?', { timeoutMs: 1 }],
    ] as const) {
      await expect(client.ask(device, question, options)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    }
  });

  test('iterates scenes: the retained one first, then new ones, of one camera or all devices', async () => {
    await using bus = await open('watched');
    await bus.publishScene('cam0', observation('first'));
    const seen: Scene[] = [];
    const reading = (async () => {
      for await (const scene of client.scenes('watched', { camera: 'cam0' })) {
        seen.push(scene);
        if (scene.text === 'last') break;
      }
    })();
    await until(() => seen.length === 1);
    await bus.publishScene('cam1', observation('another camera'));
    await bus.publishScene('cam0', observation('last'));
    await reading;
    expect(seen.map(({ text, camera }) => [camera, text])).toEqual([
      ['cam0', 'first'],
      ['cam0', 'last'],
    ]);
    const all = (await take(client.scenes('*'), 2)).map(({ device, camera, text }) => `${device} ${camera} ${text}`);
    expect(all.sort()).toEqual(['watched cam0 last', 'watched cam1 another camera']);
  });

  test('skips to the newest scene for a slow reader', async () => {
    await using bus = await open('slow');
    await bus.publishScene('cam0', observation('0'));
    const scenes = client.scenes('slow');
    expect((await scenes.next()).value?.text).toBe('0');
    // The loop is busy elsewhere while these arrive; the marker of another camera shows that they have.
    await using listener = await Listener.open(broker, version, bus.topics.cameraScene('cam0'));
    for (let n = 1; n <= 20; n += 1) await bus.publishScene('cam0', observation(String(n)));
    await listener.next(({ json }) => json.text === '20');
    await client.ask('slow', 'Are all of them there?').catch(() => {});
    expect((await scenes.next()).value?.text).toBe('20');
    await scenes.return?.();
  });

  test('skips messages that do not fit, and a retained scene that is stale', async () => {
    await using bus = await open('noisy');
    await using listener = await Listener.open(broker, version, 'nothing');
    const topic = bus.topics.cameraScene('cam0');
    const publish = (payload: string) => listener.client.publishAsync(topic, payload, { qos: 1, retain: true });
    await bus.publishScene('cam0', observation('real'));
    const [real] = await take(client.scenes('noisy'), 1);
    await publish(JSON.stringify({ ...real, seq: 90, expiresTs: '2020-01-01T00:00:00.000Z' }));
    const scenes = client.scenes('noisy');
    const next = scenes.next();
    await publish('{"text":');
    await publish(JSON.stringify({ ...real, seq: 91, objects: 'none' }));
    await publish(JSON.stringify({ ...real, seq: 92, text: 'good' }));
    expect((await next).value).toMatchObject({ text: 'good' });
    await scenes.return?.();
  });

  test('follows availability over a cut connection, and subscribes again', async () => {
    await using proxy = await startProxy(broker.port);
    await using watcher = await connectClient({ url: proxy.url, protocolVersion: version, ...QUICK });
    const bus = await open('coming');
    const states = watcher.availability('coming');
    expect((await states.next()).value?.state).toBe('online');
    // Listened for, not polled: it is back within a few milliseconds.
    const changes: string[] = [];
    watcher.onStateChange((state) => changes.push(state));
    proxy.cut();
    await until(() => changes.includes('offline') && watcher.state === 'online');
    await bus.close();
    expect((await states.next()).value?.state).toBe('stopped');
    await states.return?.();
  });

  test('asks through an outage: the question goes out when the broker is back', async () => {
    await using proxy = await startProxy(broker.port);
    await using asker = await connectClient({ url: proxy.url, protocolVersion: version, ...QUICK });
    await using bus = await open('later');
    bus.onAsk(async ({ question }) => observation(question));
    proxy.close();
    await until(() => asker.state === 'offline');
    const answer = asker.ask('later', 'Back again?');
    proxy.open();
    expect((await answer).text).toBe('Back again?');
  });

  test('ends loops and questions when it closes', async () => {
    await using bus = await open('closing');
    bus.onAsk(
      (_request, { signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const closing = await connectClient({ url: broker.url, protocolVersion: version });
    const answer = closing.ask('closing', 'Slow?');
    answer.catch(() => {});
    await until(() => bus.stats.requestsActive === 1);
    const loop = take(closing.scenes('closing'), 99);
    await closing.close();
    await expect(answer).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(await loop).toEqual([]);
    await expect(closing.ask('closing', 'Who?')).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    await expect(closing.scenes('x').next()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  test('takes no answer from a device that was not asked', async () => {
    await using honest = await open('honest');
    await using liar = await Listener.open(broker, version, 'scenebus/honest/request/ask');
    let answered = false;
    honest.onAsk(async () => {
      await until(() => answered);
      return observation('the truth');
    });
    const answer = client.ask('honest', 'Who?');
    const request = await liar.next(() => true);
    await using real = await open('mallory');
    real.onAsk(async () => observation('a lie'));
    await liar.client.publishAsync(real.topics.request('ask'), request.text, {
      qos: 1,
      ...(request.packet.properties === undefined ? {} : { properties: request.packet.properties }),
    });
    await until(() => real.stats.published > 0);
    answered = true;
    expect((await answer).text).toBe('the truth');
  });
});

describe('scenebus/client', () => {
  test('loads neither native code nor the model and broker packages', async () => {
    const script = `
      await import('scenebus/client');
      const cached = Object.keys((await import('node:module')).default._cache);
      console.log(JSON.stringify({ cached, natives: process.report.getReport().sharedObjects }));
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      cwd: new URL('../../..', import.meta.url),
    });
    const { cached, natives } = JSON.parse(stdout) as { cached: string[]; natives: string[] };
    const all = [...cached, ...natives].join('\n');
    expect(all).not.toMatch(/onnxruntime|sharp|opencv|aedes|\.node\b/);
  });
});
