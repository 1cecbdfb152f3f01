import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decodeImage, type LogLevel, loadModel, type Progress, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { GenerateOptions } from '#sdk/model/types.js';
import { CHECKPOINT, isAlive, modelProcesses, picture, Staged } from './staged.js';

const QUESTION = 'Where is the red cup?';
/** So hot that every token is as likely as any other: the text does not end by itself soon. */
const LONG = { temperature: 100, topP: 1, seed: 1, maxNewTokens: 1000 };
const code = (expected: string) => expect.objectContaining({ name: 'SdkError', code: expected });
const noisy = (seed: number, width = 64, height = 48) => {
  const image = picture(0, width, height);
  for (let i = 0; i < image.data.length; i++) image.data[i] = (i * 2654435761 * seed) >>> 24;
  return image;
};
const request = (image = picture(1)) => ({
  messages: [
    {
      role: 'user' as const,
      content: [{ type: 'image', image } as const, { type: 'text', text: 'Describe.' } as const],
    },
  ],
});

let here: VisionLanguageModel;
let there: VisionLanguageModel;
const progress: Progress[] = [];
const log: { level: LogLevel; message: string; details: unknown }[] = [];

beforeAll(async () => {
  const logger = {
    log: (level: LogLevel, message: string, details?: unknown) => log.push({ level, message, details }),
  };
  here = await loadModel(CHECKPOINT, { backend: 'cpu' });
  there = await loadModel(CHECKPOINT, {
    backend: 'cpu',
    isolation: 'process',
    logger,
    onProgress: (each) => progress.push(each),
  });
});
afterAll(async () => {
  await here[Symbol.asyncDispose]();
  await there[Symbol.asyncDispose]();
});

describe('a model in a process of its own', () => {
  test('is what it is in this process, in a process of its own', () => {
    expect(there.info).toEqual(here.info);
    expect(there.process!.pid).not.toBe(process.pid);
    expect(isAlive(there.process!.pid)).toBe(true);
    expect(here.process).toBeUndefined();
  });

  test('tells progress and log of the load', () => {
    const phases = progress.map(({ phase }) => phase);
    expect(phases).toEqual(expect.arrayContaining(['open checkpoint', 'load tokenizer']));
    expect(log).toContainEqual(
      expect.objectContaining({ level: 'info', message: expect.stringContaining('cpu engine') }),
    );
  });

  test('decides the same', async () => {
    const image = noisy(3);
    for (const among of [
      { type: 'yes-no' },
      { type: 'number', max: 9 },
      { type: 'choice', choices: ['red', 'blue'] },
    ] as const) {
      const [a, b] = [await here.decide(image, QUESTION, among), await there.decide(image, QUESTION, among)];
      expect({ ...b, timings: undefined }).toEqual({ ...a, timings: undefined });
    }
    await expect(there.decide(image, QUESTION, { type: 'choice', choices: [] })).rejects.toEqual(
      code('ERR_ARGUMENT_INVALID'),
    );
  });

  test('gives the same answers, descriptions and texts', async () => {
    for (const image of [noisy(1), noisy(2, 100, 30)]) {
      const [a, b] = [await here.ask(image, QUESTION), await there.ask(image, QUESTION)];
      expect({ ...b, timings: undefined }).toEqual({ ...a, timings: undefined });
      expect(Object.keys(b.timings)).toEqual(Object.keys(a.timings));
      expect((await there.describe(image)).text).toBe((await here.describe(image)).text);
    }
  });

  test('says where things are as a model in this process does', async () => {
    const clip = new URL('../../../examples/demo-model/evaluation/00003.jpg', import.meta.url);
    const image = await decodeImage(fileURLToPath(clip));
    const { width, height } = image;
    const lens = { width, height, fx: width, fy: width, cx: width / 2, cy: height / 2 };
    const camera = {
      lens: { ...lens, distortionModel: 'plumb_bob' as const, distortion: [0.1, 0, 0, 0, 0] },
      mounting: { heightMetres: 1, pitchDegrees: 40 },
    };
    const asked = (model: VisionLanguageModel) => model.ask(image, model.info.prompts.list, { camera });
    const [a, b] = [await asked(here), await asked(there)];
    expect(a.objects.length).toBeGreaterThan(0);
    for (const object of a.objects) expect(object).toMatchObject({ bearing: { frame: 'base' }, floor: {} });
    expect(b.objects).toEqual(a.objects);
    const wrong = { camera: { lens: { ...camera.lens, fx: 0 } } };
    await expect(there.ask(image, QUESTION, wrong)).rejects.toEqual(code('ERR_ARGUMENT_INVALID'));
  });

  test('goes on with texts and decides as a model in this process does', async () => {
    const image = noisy(12);
    expect((await there.complete(undefined, 'The red')).text).toBe((await here.complete(undefined, 'The red')).text);
    expect((await there.complete(image, 'The')).text).toBe((await here.complete(image, 'The')).text);
    const among = { type: 'choice', choices: ['red', 'blue'] } as const;
    const [a, b] = [
      await here.decide(image, 'Which colour?', among),
      await there.decide(image, 'Which colour?', among),
    ];
    expect([b.value, b.probability]).toEqual([a.value, a.probability]);
  });

  test('finds texts as probable as a model in this process does, and as it finds them when it writes them', async () => {
    const image = await decodeImage(
      fileURLToPath(new URL('../../../examples/demo-model/evaluation/00003.jpg', import.meta.url)),
    );
    const written = await here.describe(image, { logProbabilities: 0 });
    const texts = [written.text, 'A purple elephant.', 'A'];
    const [a, b] = [await here.likelihood(image, texts), await there.likelihood(image, texts)];
    expect(b.texts).toEqual(a.texts);
    const sum = written.tokens!.reduce((total, { logProbability }) => total + logProbability, 0);
    expect(a.texts[0]!.tokens).toBe(written.tokens!.length);
    expect(a.texts[0]!.logProbability).toBeCloseTo(sum, 3);
    expect(a.texts[1]!.logProbability).toBeLessThan(a.texts[0]!.logProbability);
    expect((await there.likelihood(undefined, texts)).usage.images).toBe(0);
    await expect(there.likelihood(image, [])).rejects.toEqual(code('ERR_ARGUMENT_INVALID'));
  });

  test('keeps deadlines, and tells who waits', async () => {
    const late = there.ask(noisy(13), QUESTION, { ...LONG, deadlineMs: 1 });
    await expect(late).rejects.toEqual(code('ERR_REQUEST_EXPIRED'));
    expect(Object.keys(there.stats())).toEqual(Object.keys(here.stats()));
    const held = await new Staged('prefill', 'hold', { graceMs: 0 }).model;
    const running = held.ask(picture(1), QUESTION);
    running.catch(() => {});
    await expect.poll(() => held.stats().running, { timeout: 20_000 }).toBe(1);
    await held[Symbol.asyncDispose]();
    await expect(running).rejects.toEqual(code('ERR_DISPOSED'));
  });

  test('streams text as it is written', async () => {
    const pieces: string[] = [];
    const stream = there.generate(request());
    for await (const piece of stream) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join('')).toBe((await stream.collect()).text);
    expect(pieces.join('')).toBe((await here.generate(request()).collect()).text);
  });

  test('keeps the vision features of pictures that were seen before', async () => {
    await there.ask(noisy(3), QUESTION);
    expect((await there.ask(noisy(3), 'And now?')).usage.reusedImages).toBe(1);
  });

  test('answers several calls at once, each its own', async () => {
    const seeds = [4, 5, 6, 7, 8];
    const alone: string[] = [];
    for (const seed of seeds) alone.push((await here.describe(noisy(seed))).text);
    const together = await Promise.all(seeds.map((seed) => there.describe(noisy(seed))));
    expect(together.map(({ text }) => text)).toEqual(alone);
  });

  test('stops when the reader leaves the stream, and is free for the next', async () => {
    for await (const _ of there.generate(request())) break;
    expect((await there.ask(picture(1), QUESTION)).finishReason).toBe('stop');
  });

  test('rejects with the reason of the signal: before the call, while it waits, in the middle of the text', async () => {
    const reason = new Error('enough');
    await expect(there.ask(picture(1), QUESTION, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const waiting = new AbortController();
    const first = there.ask(noisy(9), QUESTION);
    const second = there.ask(noisy(10), QUESTION, { signal: waiting.signal });
    waiting.abort(reason);
    await expect(second).rejects.toBe(reason);
    await first;
    const middle = new AbortController();
    const loop = (async () => {
      for await (const _ of there.generate(request(), { ...LONG, signal: middle.signal })) middle.abort(reason);
    })();
    await expect(loop).rejects.toBe(reason);
  });

  test('fails as a model in this process does: code, message and details', async () => {
    const wrong: [string, (model: VisionLanguageModel) => Promise<unknown>][] = [
      ['ERR_ARGUMENT_INVALID', (model) => model.ask(picture(1), QUESTION, { temperature: -1 })],
      ['ERR_ARGUMENT_INVALID', (model) => model.ask(picture(1), QUESTION, { maxTokens: 3 } as GenerateOptions)],
      ['ERR_PROMPT_INVALID', (model) => model.ask(picture(1), ' ')],
      ['ERR_PROMPT_INVALID', (model) => model.generate({} as never).collect()],
      ['ERR_IMAGE_INVALID', (model) => model.ask({ ...picture(1), width: 63 }, QUESTION)],
      ['ERR_IMAGE_INVALID', (model) => model.ask(undefined as never, QUESTION)],
      ['ERR_IMAGE_INVALID', (model) => model.ask({ ...picture(1), data: new Uint8Array(0) }, QUESTION)],
      ['ERR_CONTEXT_OVERFLOW', (model) => model.ask(picture(1), 'many words '.repeat(5000))],
    ];
    const fail = (call: Promise<unknown>) =>
      call.then(String, ({ code, message, details }) => ({ code, message, details }));
    for (const [expected, call] of wrong) {
      const there_ = await fail(call(there));
      expect(there_).toEqual(await fail(call(here)));
      expect(there_).toMatchObject({ code: expected });
    }
  });

  test('refuses what cannot cross, before anything is sent', async () => {
    const call = there.ask(picture(1), QUESTION, { stop: z.string() } as never);
    await expect(call).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID', details: { option: 'options.stop' } });
  });

  test('sends the pixels of a 4K frame by shared memory: one copy, and little through the channel', async () => {
    // Counts every byte that this process writes, to a memory file or into a channel.
    const writtenBytes = () => Number(/^wchar: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
    const large = noisy(11, 3840, 2160);
    const before = writtenBytes();
    await there.ask(large, QUESTION);
    const beyondTheCopyBytes = writtenBytes() - before - large.data.byteLength;
    expect(beyondTheCopyBytes).toBeGreaterThan(0);
    expect(beyondTheCopyBytes).toBeLessThan(256 * 1024);
    expect(there.process!.memory()!.sharedBytes).toBeGreaterThanOrEqual(large.data.byteLength);
  });

  test('tells the memory of the process', () => {
    const { rssBytes, peakRssBytes } = there.process!.memory()!;
    expect(rssBytes).toBeGreaterThan(20 * 2 ** 20);
    expect(peakRssBytes).toBeGreaterThanOrEqual(rssBytes);
  });
});

describe('loading into a process', () => {
  test('fails as a load in this process does, and leaves no process', async () => {
    const fail = (isolation: 'none' | 'process', directory: string, options = {}) =>
      loadModel(directory, { isolation, ...options }).then(String, ({ code, message }) => ({ code, message }));
    const before = modelProcesses();
    for (const [directory, options] of [
      ['/nowhere', {}],
      [CHECKPOINT, { backend: 'abacus' }],
      [CHECKPOINT, { threadz: 1 }],
      [CHECKPOINT, { contextLength: -1 }],
    ] as const) {
      const failure = await fail('process', directory, options);
      expect(failure).toEqual(await fail('none', directory, options));
      expect(failure).toHaveProperty('code');
    }
    expect(modelProcesses()).toEqual(before);
  });

  test('refuses an isolation that it does not know', async () => {
    await expect(loadModel(CHECKPOINT, { isolation: 'thread' as never })).rejects.toEqual(code('ERR_ARGUMENT_INVALID'));
  });

  test('starts nothing when it is aborted before', async () => {
    const before = modelProcesses();
    const load = loadModel(CHECKPOINT, { isolation: 'process', signal: AbortSignal.abort('no') });
    await expect(load).rejects.toBe('no');
    expect(modelProcesses()).toEqual(before);
  });
});

describe('disposing it', () => {
  test('ends the process and what it works on, once, and every later call', async () => {
    const staged = new Staged('decode', 'hold', { graceMs: 200 });
    const model = await staged.model;
    const answer = model.ask(picture(1), QUESTION);
    answer.catch(() => {});
    await staged.reached('decode');
    const [first, second] = [model[Symbol.asyncDispose](), model[Symbol.asyncDispose]()];
    expect(second).toBe(first);
    await first;
    await expect(answer).rejects.toEqual(code('ERR_DISPOSED'));
    await expect(model.ask(picture(1), QUESTION)).rejects.toEqual(code('ERR_DISPOSED'));
    expect(isAlive(model.process!.pid)).toBe(false);
    expect(await model.process!.ended).toBeUndefined();
  });

  test('waits until the process has released everything', async () => {
    const staged = new Staged('dispose', 'go');
    const model = await staged.model;
    await model.ask(picture(1), QUESTION);
    await model[Symbol.asyncDispose]();
    expect(staged.lines.map(({ message }) => message)).toContain('stage dispose');
    expect(isAlive(model.process!.pid)).toBe(false);
  });
});
