/** A model of `scenebus serve` in another process, through a proxy that spoils what a test wants spoiled. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  choice,
  decodeImage,
  type Logger,
  loadModel,
  type ModelImage,
  type RemoteOptions,
  type VisionLanguageModel,
  yesNo,
} from 'scenebus';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { until } from '../../support/brokers.js';
import {
  type Fault,
  type FaultProxy,
  type ServeProcess,
  startFaultProxy,
  startServe,
} from '../../support/fault-proxy.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { loadDemoModel } from '../device/demo-device.js';

const photo = fileURLToPath(new URL('../../../examples/demo-model/evaluation/00000.jpg', import.meta.url));
const modelName = 'llama3.2-vision';
const key = 'a-key-that-nobody-may-read';
const question = 'List all objects with their boxes.';

let folder: string;
let served: ServeProcess;
let proxy: FaultProxy;
let image: ModelImage;
let local: VisionLanguageModel;
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-remote-');
  await writeFile(join(folder, 'key'), `${key}\n`);
  served = await startServe(folder, '--name', modelName, '--key-file', join(folder, 'key'));
  proxy = await startFaultProxy(served.origin);
  image = await decodeImage(photo);
  local = await loadDemoModel(folder);
}, 180_000);
afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await served?.[Symbol.asyncDispose]();
  await local?.[Symbol.asyncDispose]();
});

const models: VisionLanguageModel[] = [];
afterEach(async () => {
  for (const model of models.splice(0)) await model[Symbol.asyncDispose]();
  for (const list of [proxy.faults, proxy.otherFaults, proxy.bodies, proxy.headers]) list.length = 0;
});

/** Quick to give up and to come back, but for what a test says. */
async function load(options: Partial<RemoteOptions> = {}, logger?: Logger): Promise<VisionLanguageModel> {
  const remote: RemoteOptions = {
    url: proxy.url,
    model: modelName,
    keyFile: join(folder, 'key'),
    pictures: { send: true, jpegQuality: 95 },
    retries: { most: 2, initialMs: 1, maximumMs: 2 },
    ...options,
  };
  const model = await loadModel({ remote, logger });
  models.push(model);
  return model;
}

const about = (text: string) => ({
  messages: [{ role: 'user' as const, content: [{ type: 'image', image } as const, { type: 'text', text } as const] }],
});
const error = (code: string, status?: number) =>
  expect.objectContaining({ code, ...(status === undefined ? {} : { details: expect.objectContaining({ status }) }) });
const answering = (...events: (object | string)[]): Fault => ({
  type: 'answer',
  headers: { 'content-type': 'text/event-stream' },
  body: events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join(''),
});
const piece = (content: string, finish_reason: string | null = null, more: object = {}) => ({
  model: modelName,
  choices: [{ index: 0, delta: { content }, finish_reason }],
  ...more,
});

describe('an answer', () => {
  test('comes piece by piece, with the boxes that a SceneBus sends, in pixels of the picture as it was', async () => {
    const model = await load();
    const pieces: string[] = [];
    const stream = model.generate(about(question), { temperature: 0 });
    for await (const text of stream) pieces.push(text);
    const answer = await stream.collect();
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.join('')).toBe(answer.text);
    const expected = await local.generate(about(question), { temperature: 0 }).collect();
    // The picture went through a JPEG: what is there is the same, its edges may lie a pixel further.
    expect(answer.objects.map(({ label }) => label).sort()).toEqual(expected.objects.map(({ label }) => label).sort());
    for (const { box, boxPixels } of answer.objects) {
      expect(boxPixels[2]).toBeLessThanOrEqual(image.width);
      expect(boxPixels[0] / image.width).toBeCloseTo(box.x1, 1);
    }
    expect(answer).toMatchObject({ finishReason: 'stop', usage: { images: 1 } });
    expect(answer.usage.promptTokens).toBe(expected.usage.promptTokens);
    expect(answer.usage.generatedTokens).toBeGreaterThan(pieces.length / 2);
    expect(answer.timings.timeToFirstTokenMs).toBeGreaterThan(0);
  });

  test('is what the model says of itself: its context, boxes and probabilities', async () => {
    const { info } = await load();
    expect(info).toMatchObject({ name: modelName, writesBoxes: true, notices: [] });
    expect(info.engine).toMatchObject({
      backend: 'remote',
      device: proxy.url,
      contextLength: local.info.engine.contextLength,
      capabilities: { boxes: true, logProbabilities: true, attentionTaps: false, pictures: true },
    });
  });

  test('ends within a token where its reader leaves, and at the server too', async () => {
    const model = await load();
    for await (const _ of model.generate(about(question), { temperature: 0 })) break;
    await until(() => proxy.open === 0);
    const abort = new AbortController();
    const stream = model.generate(about(question), { temperature: 0, signal: abort.signal });
    const reason = new Error('enough');
    await expect(
      (async () => {
        for await (const _ of stream) abort.abort(reason);
      })(),
    ).rejects.toBe(reason);
    await until(() => proxy.open === 0);
    expect(model.stats()).toMatchObject({ running: 0, circuit: 'closed' });
  });

  test('under a schema is a value that fits it, whatever the server says', async () => {
    const model = await load();
    const schema = z.object({ cups: z.int().min(0).max(20), tidy: z.boolean() });
    const { value } = await model.ask(image, question, { schema });
    expect(schema.parse(value)).toEqual(value);
    expect(proxy.bodies.at(-1)).toMatchObject({
      response_format: { type: 'json_schema', json_schema: { schema: { required: ['cups', 'tidy'] } } },
    });
    proxy.faults.push(answering(piece('{"cups":99,"tidy":true}', 'stop'), '[DONE]'));
    await expect(model.ask(image, question, { schema })).rejects.toMatchObject({ code: 'ERR_ANSWER_INVALID' });
    await expect(model.ask(image, question, { schema, maxNewTokens: 2 })).rejects.toMatchObject({
      code: 'ERR_ANSWER_INCOMPLETE',
    });
  });

  test('can be decided: yes or no, and a choice, nearly as probable as to the model itself', async () => {
    const model = await load();
    for (const ask of ['Is there a red cup?', 'Is there a green ball?', 'Is there a yellow box?']) {
      const [here, there] = [
        await local.ask(image, ask, { schema: yesNo() }),
        await model.ask(image, ask, { schema: yesNo() }),
      ];
      const yes = ({ options }: typeof here) => options.find(({ value }) => value)!.probability;
      // The demo model's own is scaled as its folder says; a server tells the bare one.
      expect(there.coverage).toBeGreaterThan(0.5);
      expect(yes(there) > 0.5).toBe(yes(here) > 0.5);
    }
    const among = { schema: choice(['red', 'green', 'blue', 'yellow']) };
    const which = 'What colour is the cup?';
    const [here, there] = [await local.ask(image, which, among), await model.ask(image, which, among)];
    expect(there.value).toBe(here.value);
    expect(there.probability).toBeCloseTo(here.probability, 1);
    expect(there.options.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 6);
  });
});

describe('what leaves this machine', () => {
  test('is no picture, unless that is wanted', async () => {
    const model = await load({ pictures: undefined });
    await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REQUEST_UNSUPPORTED' });
    expect(proxy.bodies).toEqual([]);
    expect(model.info.engine.capabilities).toMatchObject({ pictures: false });
    const { text } = await model
      .generate({ messages: [{ role: 'user', content: 'Hello' }] }, { maxNewTokens: 4 })
      .collect();
    expect(text).toEqual(expect.any(String));
    await expect(load({ pictures: { send: false as true } })).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  });

  test('is a picture of the size at which the model sees it, as good as wanted', async () => {
    const [width, height] = [1_600, 900];
    const data = new Uint8Array(width * height * 3);
    for (let i = 0; i < data.length; i++) data[i] = ((Math.floor(i / 60) * 31) ^ Math.floor(i / (width * 60))) % 251;
    const large: ModelImage = { width, height, format: 'rgb8', data };
    const sizes: number[] = [];
    for (const jpegQuality of [30, 90]) {
      const model = await load({ pictures: { send: true, jpegQuality, tileSize: 112 } });
      await model.ask(large, question, { maxNewTokens: 1 });
      const [{ content }] = proxy.bodies.at(-1)!.messages as [{ content: { image_url: { url: string } }[] }];
      const bytes = Buffer.from(content[0]!.image_url.url.split(',')[1]!, 'base64');
      const seen = await decodeImage(bytes);
      // On a canvas of 448 × 112 it would be lower, on one of 224 × 224 it is as wide as that.
      expect([seen.width, seen.height]).toEqual([224, 126]);
      sizes.push(bytes.length);
    }
    expect(sizes[1]).toBeGreaterThan(1.5 * sizes[0]!);
  });

  test('is a key, which no log and no error tells', async () => {
    const lines: string[] = [];
    const logger: Logger = { log: (...said) => lines.push(JSON.stringify(said)) };
    const model = await load({}, logger);
    proxy.faults.push({ type: 'answer', status: 400, body: JSON.stringify({ error: { message: `key ${key}` } }) });
    const refused = await model.ask(image, question).catch((caught: Error) => caught);
    expect(String(refused)).toContain('400');
    await model.ask(image, question);
    expect(proxy.headers.at(-1)?.authorization).toBe(`Bearer ${key}`);
    expect(lines.join() + JSON.stringify(refused) + String(refused) + JSON.stringify(model.info)).not.toContain(key);
    const stranger = join(folder, 'other-key');
    await writeFile(stranger, 'another-key-than-expected\n');
    await expect(load({ keyFile: stranger })).rejects.toEqual(error('ERR_REMOTE_REJECTED', 401));
  });

  test.each([
    ['http://gpu.example/v1'],
    ['ftp://gpu.example'],
    ['gpu.example'],
    ['https://user:password@gpu.example/v1'],
    ['https://gpu.example/v1?key=abc'],
  ])('goes to no address like %s', async (url) => {
    const refused = await load({ url }).catch((caught: Error) => caught);
    expect(refused).toMatchObject({ code: 'ERR_CONFIG_INVALID' });
    expect(String(refused)).not.toMatch(/password@|abc/);
  });
});

describe('what has no place in the API', () => {
  test.each([
    [{ topK: 5 }, 'topK'],
    [{ heatMap: true }, 'heatMap'],
    [{ repetitionPenalty: 1.2 }, 'repetitionPenalty'],
  ])('is refused: %o', async (options, option) => {
    const model = await load();
    await expect(model.ask(image, question, options)).rejects.toMatchObject({
      code: 'ERR_REQUEST_UNSUPPORTED',
      details: { option },
    });
  });
});

describe('a server that is unwell', () => {
  test.each<[string, Fault[], number]>([
    ['resets the connection', [{ type: 'reset' }], 2],
    ['is cut within its answer', [{ type: 'cut', afterBytes: 300 }], 2],
    [
      'fails',
      [
        { type: 'answer', status: 500, body: 'oops' },
        { type: 'answer', status: 502, body: '<html>' },
      ],
      3,
    ],
    ['has too much to do', [{ type: 'answer', status: 429, headers: { 'retry-after': '0' }, body: '{}' }], 2],
    ['sends an error in its stream', [answering(piece('It'), { error: { message: 'out of memory' } })], 2],
    ['ends a stream halfway', [answering(piece('It is'))], 2],
  ])('is asked again where nobody has seen anything of the answer: it %s', async (_, faults, requests) => {
    const model = await load();
    proxy.faults.push(...faults);
    const { text } = await model.ask(image, question);
    expect(text.length).toBeGreaterThan(0);
    expect(proxy.bodies).toHaveLength(requests);
  });

  test('is not asked again once something of the answer was told', async () => {
    const model = await load();
    proxy.faults.push(answering(piece('It is')));
    const stream = model.generate(about(question));
    const pieces: string[] = [];
    await expect(
      (async () => {
        for await (const text of stream) pieces.push(text);
      })(),
    ).rejects.toMatchObject({ code: 'ERR_REMOTE_UNREACHABLE', details: { how: 'cut' } });
    expect(pieces).toEqual(['It is']);
    expect(proxy.bodies).toHaveLength(1);
  });

  test('is given the time that it asks for, or told of when that is too long', async () => {
    const model = await load();
    const busy = (seconds: string): Fault => ({
      type: 'answer',
      status: 429,
      headers: { 'retry-after': seconds },
      body: '{}',
    });
    proxy.faults.push(busy('1'));
    const startedMs = performance.now();
    await model.ask(image, question);
    // Not how long it took, but that the pause was no shorter than what the server said.
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(1_000);
    proxy.faults.push(busy('3600'));
    await expect(model.ask(image, question)).rejects.toMatchObject({
      code: 'ERR_BUSY',
      details: { retryAfterMs: 3_600_000 },
    });
    proxy.faults.push(busy('30'));
    await expect(model.ask(image, question, { deadlineMs: 20_000 })).rejects.toMatchObject({ code: 'ERR_BUSY' });
  });

  test('does not hold up whoever has a deadline, nor longer than a stall may last', async () => {
    const model = await load();
    proxy.faults.push({ type: 'silence' });
    await expect(model.ask(image, question, { deadlineMs: 300 })).rejects.toMatchObject({
      code: 'ERR_REQUEST_EXPIRED',
    });
    const impatient = await load({ stallMs: 200, retries: { most: 0 } });
    proxy.faults.push({ type: 'silence' });
    await expect(impatient.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REMOTE_UNREACHABLE' });
    const bounded = await load({ timeoutMs: 5_000 });
    proxy.faults.push({ type: 'slow', byMs: 60_000 });
    await expect(bounded.ask(image, question, { deadlineMs: 400 })).rejects.toMatchObject({
      code: 'ERR_REQUEST_EXPIRED',
    });
  });

  test('is left alone after failures in a row, and tried with one request afterwards', async () => {
    const model = await load({ retries: { most: 0 }, circuit: { failures: 2, openMs: 300 } });
    const down: Fault = { type: 'answer', status: 500, body: '' };
    proxy.faults.push(down, down);
    for (let i = 0; i < 2; i++)
      await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REMOTE_FAILED' });
    await expect(model.ask(image, question)).rejects.toMatchObject({
      code: 'ERR_REMOTE_UNREACHABLE',
      details: { circuit: 'open', retryAfterMs: expect.any(Number) },
    });
    expect(proxy.bodies).toHaveLength(2);
    await until(() => model.stats().circuit === 'half-open');
    proxy.faults.push({ type: 'slow', byMs: 300 });
    const tried = await Promise.allSettled([model.ask(image, question), model.ask(image, question)]);
    expect(tried.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(proxy.bodies).toHaveLength(3);
    expect(model.stats().circuit).toBe('closed');
  });

  test('that refuses is not asked again', async () => {
    const model = await load();
    proxy.faults.push({
      type: 'answer',
      status: 400,
      body: JSON.stringify({ error: { message: 'no such parameter' } }),
    });
    await expect(model.ask(image, question)).rejects.toThrow('no such parameter');
    proxy.faults.push({ type: 'answer', status: 302, headers: { location: 'https://elsewhere.example/' }, body: '' });
    await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REMOTE_REJECTED' });
    expect(proxy.bodies).toHaveLength(2);
  });
});

describe('an answer that is none', () => {
  const html: Fault = {
    type: 'answer',
    headers: { 'content-type': 'text/html' },
    body: '<html><body>Log in</body></html>',
  };

  test('HTML, at the load and afterwards', async () => {
    const model = await load();
    proxy.faults.push(html);
    await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REMOTE_INVALID' });
    proxy.otherFaults.push(html);
    await expect(load()).rejects.toMatchObject({ code: 'ERR_REMOTE_INVALID' });
  });

  test("another model's name, at the load and afterwards", async () => {
    await expect(load({ model: 'llama-90b' })).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      details: { asked: 'llama-90b', models: [modelName] },
    });
    const model = await load();
    proxy.faults.push(answering({ ...piece('yes', 'stop'), model: 'tiny-1b' }, '[DONE]'));
    await expect(model.ask(image, question)).rejects.toMatchObject({
      code: 'ERR_REMOTE_REJECTED',
      details: { asked: modelName, answered: 'tiny-1b' },
    });
  });

  test.each<[string, string]>([
    ['of text', `data: ${JSON.stringify(piece('more and more '.repeat(50)))}\n\n`],
    ['of nothing', `data: ${JSON.stringify(piece(''))}\n\n`],
    ['of comments', `: ${'keep '.repeat(100)}\n\n`],
    ['of one line', 'data: still the same line '.repeat(100)],
  ])('a stream without an end: %s', async (_, event) => {
    const model = await load();
    proxy.faults.push({ type: 'endless', event });
    await expect(model.ask(image, question, { maxNewTokens: 16 })).rejects.toMatchObject({
      code: 'ERR_REMOTE_INVALID',
    });
    await until(() => proxy.open === 0);
  });

  test('garbage', async () => {
    const model = await load();
    for (const garbage of [
      answering('{"choices":'),
      answering({ choices: [{ delta: { content: 7 } }] }),
      answering(piece('a', 'stop', { scenebus: { objects: [{ label: 1 }] } })),
    ]) {
      proxy.faults.push(garbage);
      await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REMOTE_INVALID' });
    }
  });

  test('a stream that goes on, or stays open, behind the end of the text ends with it', async () => {
    const model = await load();
    const first = `data: ${JSON.stringify(piece('two cups', 'stop'))}\n\n`;
    for (const event of [undefined, ': still here\n\n', first]) {
      proxy.faults.push(event === undefined ? { type: 'endless', first } : { type: 'endless', first, event });
      expect((await model.ask(image, question, { maxNewTokens: 16 })).text).toBe('two cups');
    }
    await until(() => proxy.open === 0);
  });

  test('tokens behind the end are none of the answer', async () => {
    const model = await load();
    proxy.faults.push(answering(piece('two cups', 'stop'), piece(' and more'), '[DONE]', piece(' and even more')));
    expect((await model.ask(image, question)).text).toBe('two cups');
    proxy.faults.push({ type: 'append', text: `data: ${JSON.stringify(piece('behind'))}\n\n` });
    expect((await model.ask(image, question)).text).not.toContain('behind');
    expect((await model.ask(image, question)).text).not.toContain('behind');
  });
});

test('a server that tells no probabilities is not asked for them, and says so', async () => {
  proxy.otherFaults.push({ type: 'answer', body: JSON.stringify({ data: [{ id: modelName, owned_by: 'somebody' }] }) });
  proxy.faults.push({
    type: 'answer',
    body: JSON.stringify({ choices: [{ message: { content: 'yes' }, finish_reason: 'stop' }] }),
  });
  const model = await load();
  expect(model.info).toMatchObject({
    writesBoxes: false,
    engine: { contextLength: undefined, capabilities: { boxes: false, logProbabilities: false } },
  });
  await expect(model.ask(image, 'Is there a cup?', { schema: yesNo() })).rejects.toMatchObject({
    code: 'ERR_REQUEST_UNSUPPORTED',
  });
  await expect(model.ask(image, question, { verify: true })).rejects.toMatchObject({ code: 'ERR_REQUEST_UNSUPPORTED' });
});

test('connects later where that is wanted, and then says what the server can do', async () => {
  proxy.otherFaults.push({ type: 'reset' }, { type: 'reset' }, { type: 'reset' });
  const model = await load({ connect: 'later' });
  expect(model.info.engine.capabilities).toMatchObject({ boxes: undefined, logProbabilities: undefined });
  await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_REMOTE_UNREACHABLE' });
  await model.ask(image, question);
  expect(model.info.engine.capabilities).toMatchObject({ boxes: true, logProbabilities: true });
});

test('ends what is on its way when it is disposed of', async () => {
  const model = await load();
  proxy.faults.push({ type: 'silence' });
  const asked = model.ask(image, question);
  await until(() => proxy.bodies.length === 1);
  const refused = expect(asked).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  await model[Symbol.asyncDispose]();
  await refused;
  await expect(model.ask(image, question)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
});
