import { SdkError } from 'scenebus';
import type { AskHandler } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import { startAsk } from '#device/features/ask.js';
import { fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';

const never = new AbortController().signal;
const call = { signal: never, deadlineMs: 0, client: 'scenebus/client/1/response' };

/** The bus, as far as questions go. */
function questions() {
  const source = {
    handler: undefined as AskHandler | undefined,
    onAsk(handler: AskHandler) {
      source.handler = handler;
      return () => {
        source.handler = undefined;
      };
    },
    ask: (request: Parameters<AskHandler>[0]) => source.handler!(request, call as Parameters<AskHandler>[1]),
  };
  return source;
}

const twoCameras = {
  cameras: [
    { id: 'left', address: 'test:moving' },
    { id: 'right', address: 'test:moving' },
  ],
};

describe('questions', () => {
  test('are answered about the latest frame', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model, { ask: { maxNewTokens: 77, timeoutMs: 5_000 } });
    const bus = questions();
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(5);
    const result = await bus.ask({ question: 'What is there?' });
    expect(result).toMatchObject({ camera: 'cam', frame: { id: 'cam-5' }, answer: { text: 'ask cam-5' } });
    expect(result.model).toEqual({ id: 'fake', hash: 'hash' });
    expect(context.events).toMatchObject([{ kind: 'frame', body: { frame: { id: 'cam-5' } } }]);
    expect(calls[0]).toMatchObject({
      question: 'What is there?',
      options: { maxNewTokens: 77, priority: 'question', caller: call.client, deadlineMs: 5_000, signal: never },
    });
  });

  test('from within this process are events before they are answered', async () => {
    const { model } = fakeModel();
    const context = await fakeContext(model);
    using answering = startAsk(context, questions());
    context.feeds[0]!.latest = fakeFrame(5);
    const result = await answering.ask({ question: 'What is there?' }, { signal: never, client: 'console' });
    expect(result.answer.text).toBe('ask cam-5');
    expect(context.events.at(-1)).toMatchObject({
      kind: 'answer',
      camera: 'cam',
      frame: { id: 'cam-5' },
      body: { verb: 'ask', question: 'What is there?', answer: { text: 'ask cam-5' }, error: null },
    });
  });

  test('may bring options of their own', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model);
    const bus = questions();
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    await bus.ask({ question: '?', maxNewTokens: 3, temperature: 0.5, seed: 9, timeoutMs: 200 });
    expect(calls[0]?.options).toMatchObject({ maxNewTokens: 3, temperature: 0.5, seed: 9, deadlineMs: 200 });
  });

  test.each([
    { answerType: 'yes-no', temperature: 0.5 },
    { answerType: 'choice', choices: ['a', 'b'], maxNewTokens: 5 },
  ] as const)('with %j are refused as long as nothing honours it', async (fields) => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model);
    const bus = questions();
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    await expect(bus.ask({ question: '?', ...fields } as Parameters<AskHandler>[0])).rejects.toMatchObject({
      code: 'ERR_REQUEST_UNSUPPORTED',
    });
    expect(calls).toEqual([]);
  });

  test('may be about a frame that was looked at a moment ago, and say what to do when it is gone', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model);
    const bus = questions();
    using _running = startAsk(context, bus);
    for (let number = 1; number <= 10; number++) {
      context.feeds[0]!.latest = fakeFrame(number);
      await bus.ask({ question: '?' });
    }
    expect((await bus.ask({ question: '?', frameId: 'cam-4' })).frame.id).toBe('cam-4');
    expect(calls.at(-1)!.frameId).toBe('cam-4');
    for (const frameId of ['cam-1', 'constructor']) {
      await expect(bus.ask({ question: '?', frameId })).rejects.toMatchObject({
        code: 'ERR_REQUEST_INVALID',
        message: expect.stringMatching(/"(cam-1|constructor)" is gone.*leave "frameId" out/),
      });
    }
  });

  test('go first when their priority is high, and give way when it is low', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model);
    const bus = questions();
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    await bus.ask({ question: '?', priority: 'low' });
    await bus.ask({ question: '?', priority: 'high' });
    await bus.ask({ question: '?', priority: 'normal' });
    expect(calls.map(({ options }) => options.priority)).toEqual(['description', 'urgent', 'question']);
  });

  test('with an answer schema give it to the model as a stranger’s', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model);
    const bus = questions();
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    const answerSchema = { type: 'boolean' };
    await bus.ask({ question: '?', answerSchema });
    expect(calls[0]?.options).toMatchObject({ schema: answerSchema, schemaFrom: 'stranger' });
  });

  test.each([
    [{ answerType: 'yes-no' }, { type: 'yes-no' }, true, 'yes'],
    [{ answerType: 'number' }, { type: 'number' }, 3, '3'],
    [{ answerType: 'choice', choices: ['a', 'b'] }, { type: 'choice', choices: ['a', 'b'] }, 'b', 'b'],
  ] as const)('with %j are decided without writing', async (fields, among, value, text) => {
    const { model, calls } = fakeModel();
    const given: unknown[] = [];
    const decide = async (...all: unknown[]) => {
      given.push(...all);
      return {
        value,
        probability: 0.75,
        options: [],
        coverage: 1,
        usage: { promptTokens: 9 },
        timings: { totalMs: 1 },
      };
    };
    const context = await fakeContext({ ...model, decide } as unknown as typeof model);
    const bus = questions();
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    const { answer } = await bus.ask({ question: '?', ...fields } as Parameters<AskHandler>[0]);
    expect(answer).toMatchObject({ text, value, probability: 0.75, usage: { promptTokens: 9 } });
    expect(given.slice(1)).toMatchObject(['?', among, { priority: 'question', caller: call.client }]);
    expect(calls).toEqual([]);
  });

  test('need to say which camera when there are several, and one that is there', async () => {
    const { model } = fakeModel();
    const context = await fakeContext(model, twoCameras);
    const bus = questions();
    using _running = startAsk(context, bus);
    await expect(bus.ask({ question: '?' })).rejects.toThrow(/one of left, right, but the question names none/);
    await expect(bus.ask({ question: '?', camera: '__proto__' })).rejects.toMatchObject({
      code: 'ERR_REQUEST_INVALID',
      message: expect.stringContaining('"__proto__"'),
    });
    context.feeds[1]!.latest = fakeFrame(2);
    expect((await bus.ask({ question: '?', camera: 'right' })).camera).toBe('right');
  });

  test('about a camera without frames, or while there is no model, fail with the reason and are no answers', async () => {
    const bus = questions();
    const blind = await fakeContext(fakeModel().model);
    {
      using _running = startAsk(blind, bus);
      await expect(bus.ask({ question: '?' })).rejects.toMatchObject({ code: 'ERR_CAPTURE_TIMEOUT' });
    }
    expect(bus.handler).toBeUndefined(); // disposed
    const lost = await fakeContext(new SdkError('ERR_ENGINE_DIED', 'gone'));
    using _running = startAsk(lost, bus);
    lost.feeds[0]!.latest = fakeFrame(1);
    await expect(bus.ask({ question: '?' })).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    expect([...blind.events, ...lost.events]).toEqual([]);
  });

  test('about a picture that is not of now say so, or are refused where the configuration wants that', async () => {
    const { model, calls } = fakeModel();
    const bus = questions();
    const context = await fakeContext(model);
    {
      using _running = startAsk(context, bus);
      context.feeds[0]!.latest = fakeFrame(1);
      expect((await bus.ask({ question: '?' })).answer.notices).toBeUndefined();
      context.feeds[0]!.notices = ['The clip has ended.'];
      expect((await bus.ask({ question: '?' })).answer.notices).toEqual(['The clip has ended.']);
    }
    const strict = await fakeContext(model, { ask: { stale: 'refuse' } });
    using _running = startAsk(strict, bus);
    strict.feeds[0]!.latest = fakeFrame(1);
    strict.feeds[0]!.notices = ['The clip has ended.'];
    const asked = calls.length;
    await expect(bus.ask({ question: '?' })).rejects.toMatchObject({
      code: 'ERR_CAPTURE_TIMEOUT',
      message: expect.stringContaining('The clip has ended.'),
    });
    expect(calls.length).toBe(asked);
  });

  test('from a model that was not made for questions say so', async () => {
    const { model } = fakeModel();
    Object.assign(model.info, { notices: ['fake: the folder has no chat template'] });
    const bus = questions();
    const context = await fakeContext(model);
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    context.feeds[0]!.notices = ['The clip has ended.'];
    expect((await bus.ask({ question: '?' })).answer.notices).toEqual([
      'The clip has ended.',
      'fake: the folder has no chat template',
    ]);
  });

  test('carry what the model says of them, decided or written, behind what is known of the frame', async () => {
    const { model } = fakeModel(undefined, () => ({ value: true, probability: 0.9, notices: ['Ask in English.'] }));
    const written = model.ask.bind(model);
    const ask = async (...asked: Parameters<typeof written>) => ({
      ...(await written(...asked)),
      notices: ['Ask in English.'],
    });
    Object.assign(model, { ask });
    const bus = questions();
    const context = await fakeContext(model);
    using _running = startAsk(context, bus);
    context.feeds[0]!.latest = fakeFrame(1);
    context.feeds[0]!.notices = ['The clip has ended.'];
    for (const answerType of ['text', 'yes-no'] as const) {
      const { answer } = await bus.ask({ question: 'Wo ist die Tasse?', answerType });
      expect(answer.notices).toEqual(['The clip has ended.', 'Ask in English.']);
    }
  });
});
