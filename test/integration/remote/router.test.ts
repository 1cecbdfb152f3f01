/** Two models as one: the local one over the fake engine, the remote one behind a real server and a proxy that spoils. */
import {
  createModelRouter,
  type GenerateOptions,
  loadModel,
  type ModelRouterOptions,
  silentLogger,
  type VisionLanguageModel,
  yesNo,
} from 'scenebus';
import { afterEach, describe, expect, test } from 'vitest';
import { ModelServer } from '#device/openai/server.js';
import { type Fault, type FaultProxy, startFaultProxy } from '../../support/fault-proxy.js';
import { createFakeModel, type FakeModel, HEADER, plainImage } from '../../support/model.js';

const image = plainImage(7);
const asked = { messages: [{ role: 'user' as const, content: 'What is there?' }] };

/** Writes a text, and finds each of its tokens so probable. */
function writing(text: string, probability: number): Promise<FakeModel> {
  return createFakeModel({
    writes: (tokenizer) => {
      const header = tokenizer.encodeTemplate(HEADER);
      const ids = tokenizer.encodeText(text);
      const eot = tokenizer.specialTokenId('<|eot_id|>')!;
      return (tokens) => {
        const begun = tokens.length - (tokens.lastIndexOf(header[0]!) + header.length);
        const row = new Float32Array(1024).fill(Math.log((1 - probability) / 1023));
        row[ids[begun] ?? eot] = Math.log(probability);
        return row;
      };
    },
  });
}

const stops: (() => PromiseLike<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Routed {
  readonly router: VisionLanguageModel;
  readonly local: FakeModel;
  readonly proxy: FaultProxy;
}

async function route(probability: number, options: Partial<ModelRouterOptions>, says = 'yes'): Promise<Routed> {
  const local = await writing(says, probability);
  const far = await writing('no, remote', 0.9);
  const server = await ModelServer.start({ model: far.model, modelName: 'big', port: 0, logger: silentLogger });
  const proxy = await startFaultProxy(server.address);
  const remote = await loadModel({
    remote: {
      url: proxy.url,
      model: 'big',
      pictures: { send: true },
      connect: 'later',
      retries: { most: 0 },
    },
  });
  const router = createModelRouter({ local: local.model, remote, ...options });
  stops.push(
    () => far.model[Symbol.asyncDispose](),
    () => server[Symbol.asyncDispose](),
    () => proxy[Symbol.asyncDispose](),
    () => router[Symbol.asyncDispose](),
  );
  return { router, local, proxy };
}

async function streamed(model: VisionLanguageModel, options: GenerateOptions = {}) {
  const stream = model.generate(asked, options);
  const pieces: string[] = [];
  for await (const piece of stream) pieces.push(piece);
  return { pieces, answer: await stream.collect() };
}

const down: Fault = { type: 'reset' };

describe('an answer that the local model is sure of', () => {
  test('is its own, and nothing leaves', async () => {
    const { router, proxy } = await route(0.9, { minimumProbability: 0.6 });
    const answer = await router.ask(image, 'What is there?');
    expect(answer).toMatchObject({ text: 'yes', answeredBy: { name: 'fake', isRemote: false, reason: 'first' } });
    expect(answer.tokens).toBeUndefined();
    const decision = await router.ask(image, 'Is it there?', { schema: yesNo() });
    expect(decision).toMatchObject({ value: true, answeredBy: { isRemote: false } });
    expect((await streamed(router)).pieces.join('')).toBe('yes');
    expect(proxy.bodies).toEqual([]);
    expect(router.info.name).toBe('fake');
  });
});

describe('an answer that the local model is not sure of', () => {
  test('is the remote one, whole, as a stream and decided', async () => {
    const { router, proxy } = await route(0.3, { minimumProbability: 0.6 });
    const whose = { name: 'big', isRemote: true, reason: 'unsure' };
    expect(await router.ask(image, 'What is there?')).toMatchObject({ text: 'no, remote', answeredBy: whose });
    const { pieces, answer } = await streamed(router);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join('')).toBe('no, remote');
    expect(answer.answeredBy).toMatchObject(whose);
    expect(proxy.bodies).toHaveLength(2);
  });

  test('is decided by the remote one, where the local one finds it too improbable', async () => {
    const { router } = await route(0.02, { minimumProbability: 0.95 });
    const decision = await router.ask(image, 'Is it there?', { schema: yesNo() });
    expect(decision).toMatchObject({ value: false, answeredBy: { name: 'big', reason: 'unsure' } });
  });

  test('is its own all the same while the network is away, and says so', async () => {
    const { router, proxy } = await route(0.3, { minimumProbability: 0.6 });
    proxy.otherFaults.push(down);
    const answer = await router.ask(image, 'What is there?');
    expect(answer).toMatchObject({ text: 'yes', answeredBy: { isRemote: false, reason: 'remote-failed' } });
    expect(answer.notices?.join()).toContain('not sure');
    proxy.faults.push(down);
    expect((await streamed(router)).pieces).toEqual(['yes']);
    proxy.faults.push({ type: 'silence' });
    // The remote one does not get all of the time that there is.
    expect(await router.ask(image, 'What is there?', { deadlineMs: 1_000 })).toMatchObject({ text: 'yes' });
    expect((await router.ask(image, 'What is there?')).text).toBe('no, remote');
  });

  test('stays here for what may not leave: descriptions, unless that is wanted', async () => {
    const { router, proxy } = await route(0.3, { minimumProbability: 0.6 });
    expect((await router.describe(image)).text).toBe('yes');
    expect(proxy.bodies).toEqual([]);
    const wanted = await route(0.3, { minimumProbability: 0.6, priorities: ['description'] });
    expect((await wanted.router.describe(image)).text).toBe('no, remote');
    expect((await wanted.router.ask(image, 'What?')).text).toBe('yes');
    expect(JSON.stringify(wanted.proxy.bodies)).toContain('Describe.');
  });

  test('keeps the tokens that its caller asked for', async () => {
    const { router } = await route(0.9, { minimumProbability: 0.1 });
    const { tokens = [] } = await router.ask(image, 'What?', { logProbabilities: 1 });
    expect(tokens.map(({ text }) => text).join('')).toBe('yes');
  });
});

describe('a local model that has too much to do', () => {
  /** Asks the router while others wait for its local model. */
  async function askedBehind(others: number, { router, local }: Routed, spoil = () => {}) {
    let behind: Promise<Awaited<ReturnType<VisionLanguageModel['ask']>>> | undefined;
    local.engine.onForward = () => {
      if (behind !== undefined || local.model.stats().waiting.question < others) return;
      spoil();
      behind = router.ask(image, 'What is there?');
    };
    const busy = Array.from({ length: others + 1 }, () => local.model.ask(image, 'What is there?'));
    await Promise.all(busy);
    expect(behind).toBeDefined();
    return await behind!;
  }

  test('leaves it to the remote one', async () => {
    const answer = await askedBehind(2, await route(0.9, { maximumWaiting: 2 }, 'local, and at some length'));
    expect(answer).toMatchObject({ text: 'no, remote', answeredBy: { reason: 'busy', isRemote: true } });
  });

  test('answers itself while fewer wait, and while the network is away', async () => {
    const few = await askedBehind(1, await route(0.9, { maximumWaiting: 2 }, 'local, and at some length'));
    expect(few.answeredBy).toMatchObject({ isRemote: false, reason: 'first' });
    const away = await route(0.9, { maximumWaiting: 2 }, 'local, and at some length');
    const answer = await askedBehind(2, away, () => away.proxy.otherFaults.push(down));
    expect(answer).toMatchObject({ text: 'local, and at some length', answeredBy: { isRemote: false } });
  });
});

test('a caller that leaves is not answered by anybody', async () => {
  const { router, proxy } = await route(0.3, { minimumProbability: 0.6 });
  const abort = new AbortController();
  const reason = new Error('enough');
  proxy.faults.push({ type: 'silence' });
  const asking = router.ask(image, 'What is there?', { signal: abort.signal });
  const refused = expect(asking).rejects.toBe(reason);
  await expect.poll(() => proxy.bodies.length).toBe(1);
  abort.abort(reason);
  await refused;
});

test.each([
  [{}, 'minimumProbability'],
  [{ minimumProbability: 2 }, 'minimumProbability'],
  [{ maximumWaiting: 0 }, 'maximumWaiting'],
  [{ minimumProbability: 0.5, priorities: ['often' as 'urgent'] }, 'priorities'],
  [{ minimumProbability: 0.5, treshold: 1 }, 'treshold'],
])('refuses %o', async (options, named) => {
  const { model } = await writing('yes', 0.9);
  await using _ = model;
  expect(() => createModelRouter({ local: model, remote: model, ...options })).toThrow(named);
});
