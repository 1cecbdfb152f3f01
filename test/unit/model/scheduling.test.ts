/** Several callers of one model: what they see of each other. */
import { describe, expect, test } from 'vitest';
import type { TokenMask } from '#sdk/inference/token-mask.js';
import type { InternalGenerateOptions } from '#sdk/model/generate-options.js';
import type { Answer, ChatMessage, GenerateOptions } from '#sdk/model/types.js';
import { createFakeModel, type FakeModelOptions, plainImage } from '../../support/model.js';

const LETTERS = 'abcdefghij';
const hello: ChatMessage[] = [{ role: 'user', content: 'Hi' }];
const plain = { drafting: 'off' } as const;

/** A description of `plainImage(1)` that a question about `plainImage(2)` comes into at its `at`-th step. */
async function interrupted(at: number, parts: FakeModelOptions['parts'] = {}, options: GenerateOptions = plain) {
  const made = await createFakeModel({ writes: LETTERS, parts });
  const { model, engine } = made;
  let question: Promise<Answer> | undefined;
  engine.onForward = (call) => {
    if (call === at) question = model.ask(plainImage(2), 'What?', options);
  };
  const description = await model.describe(plainImage(1), options);
  const answer = await question!;
  return { ...made, description, answer };
}

describe('a question while a description runs', () => {
  test.each([1, 2, 7])('goes first, at step %i, and the description goes on where it was', async (at) => {
    const { model, engine, description, answer } = await interrupted(at);
    await using _ = model;
    expect([answer.text, description.text]).toEqual([LETTERS, LETTERS]);
    expect(description.usage.preemptions).toBe(1);
    expect(answer.usage.preemptions).toBe(0);
    // Every token once: no prompt, no picture and no letter was computed again.
    const promptsOf = ({ usage }: Answer) => usage.promptTokens - usage.reusedTokens;
    const tokens = engine.forwards.reduce((sum, forward) => sum + forward.tokens.length, 0);
    expect(tokens).toBe(promptsOf(description) + promptsOf(answer) + 2 * LETTERS.length);
    expect(engine.encoded).toHaveLength(2);
    expect(description.usage.reusedImages + answer.usage.reusedImages).toBe(0);
    // The question had the engine to itself.
    const prompts = engine.forwards.flatMap(({ pastLength }, index) => (pastLength === 0 ? [index] : []));
    expect(prompts).toEqual([0, at]);
    expect(engine.forwards.slice(at, at + 1 + LETTERS.length).map(({ pastLength }) => pastLength)).toEqual(
      Array.from({ length: 1 + LETTERS.length }, (_, i) => (i === 0 ? 0 : answer.usage.promptTokens + i - 1)),
    );
    expect(model.stats()).toMatchObject({ running: 0, preemptions: 1, sequences: 2, cachedImages: 2 });
  });

  test('goes first between drafted tokens too, and the draft is not verified again', async () => {
    const { model, engine } = await createFakeModel({ writes: LETTERS });
    await using _ = model;
    await model.describe(plainImage(1));
    const before = engine.forwards.length;
    let question: Promise<Answer> | undefined;
    engine.onForward = (call) => {
      if (engine.forwards[call - 1]!.tokens.length > 1 && call > before + 1) {
        question ??= model.ask(plainImage(3), 'What?', plain);
      }
    };
    const again = await model.describe(plainImage(2));
    expect(again.text).toBe(LETTERS);
    expect(again.usage.acceptedTokens).toBeGreaterThan(0);
    expect(again.usage.preemptions).toBe(1);
    expect((await question!).text).toBe(LETTERS);
  });

  test('makes room for itself where memory holds one of them: the same text, computed again', async () => {
    const { model, engine, description, answer } = await interrupted(4, { keyValueCache: { maxBytes: 300_000 } });
    await using _ = model;
    expect([answer.text, description.text]).toEqual([LETTERS, LETTERS]);
    expect(description.usage.preemptions).toBe(1);
    expect(engine.liveSequences).toBe(1);
    expect(engine.encoded).toHaveLength(2); // pictures are kept apart from sequences
    expect(model.stats().sequenceBytes).toBeLessThanOrEqual(300_000);
  });

  test('makes room for its picture likewise', async () => {
    const { model, engine, description, answer } = await interrupted(4, {
      imageCache: { maxImages: 1, maxBytes: 1e9 },
    });
    await using _ = model;
    expect([answer.text, description.text]).toEqual([LETTERS, LETTERS]);
    expect(engine.encoded).toHaveLength(3);
    expect(engine.liveImages).toBe(1);
  });
});

describe('several generations', () => {
  test('of two callers come in turn, token by token', async () => {
    const { model, engine } = await createFakeModel({ writes: LETTERS });
    await using _ = model;
    const order: string[] = [];
    const read = async (caller: string) => {
      for await (const piece of model.generate({ messages: hello }, { caller, ...plain })) order.push(caller + piece);
    };
    await Promise.all([read('x'), read('y')]);
    expect(order).toEqual([...LETTERS].flatMap((letter) => [`x${letter}`, `y${letter}`]));
    expect(engine.liveSequences).toBe(2);
  });

  test('a prompt longer than a slice comes in pieces, between which others have their turn', async () => {
    const { model, engine } = await createFakeModel({
      writes: 'ab',
      engineInfo: { capabilities: { sliceTokens: 10 } },
    });
    await using _ = model;
    const long = [{ role: 'user', content: 'word '.repeat(30) }] as const;
    const [slow, quick] = await Promise.all([
      model.generate({ messages: long }, { caller: 'x', ...plain }).collect(),
      model.generate({ messages: hello }, { caller: 'y', ...plain }).collect(),
    ]);
    expect([slow.text, quick.text]).toEqual(['ab', 'ab']);
    expect(engine.forwards.every(({ tokens }) => tokens.length <= 10)).toBe(true);
    expect(slow.timings.engineCalls).toBe(Math.ceil(slow.usage.promptTokens / 10) + 2);
    const ofQuick = engine.forwards.findIndex(({ pastLength }, index) => index > 0 && pastLength === 0);
    expect(ofQuick).toBe(1);
  });

  test('that cannot fit are refused before anything runs', async () => {
    const { model, engine } = await createFakeModel({
      writes: LETTERS,
      parts: { keyValueCache: { maxBytes: 50_000 } },
    });
    await using _ = model;
    const asked = model.ask(plainImage(1), 'What?', { maxNewTokens: 100 });
    await expect(asked).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED', details: { maxBytes: 50_000 } });
    expect([engine.encoded, engine.forwards, engine.liveSequences]).toEqual([[], [], 0]);
    expect((await model.ask(plainImage(1), 'What?', { maxNewTokens: 3 })).text).toBe('abc');
  });

  test('of one caller do not fill the queue for another', async () => {
    const { model } = await createFakeModel({ writes: 'a', parts: { maxWaiting: 4 } });
    await using _ = model;
    const greedy = Array.from({ length: 6 }, () => model.generate({ messages: hello }, { caller: 'greedy' }).collect());
    const modest = model.generate({ messages: hello }, { caller: 'modest' }).collect();
    const results = await Promise.allSettled(greedy);
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(refused).toHaveLength(2);
    for (const error of refused) expect(error).toMatchObject({ code: 'ERR_BUSY', details: { maxWaiting: 4 } });
    for (const error of refused) expect(error.details.retryAfterMs).toBeGreaterThan(0);
    expect((await modest).text).toBe('a');
  });

  test('go on when one of them fails', async () => {
    const { model, engine } = await createFakeModel({ writes: LETTERS });
    await using _ = model;
    engine.onForward = (call) => {
      if (call === 4) throw new Error('broken');
    };
    const results = await Promise.allSettled(
      ['x', 'y', 'z'].map((caller) => model.generate({ messages: hello }, { caller, ...plain }).collect()),
    );
    expect(results.map((result) => (result.status === 'fulfilled' ? result.value.text : 'failed')).sort()).toEqual([
      LETTERS,
      LETTERS,
      'failed',
    ]);
    expect(model.stats().running).toBe(0);
  });

  test('stop encoding a picture that nobody waits for any more', async () => {
    const { model, engine } = await createFakeModel({ writes: LETTERS });
    await using _ = model;
    const leave = new AbortController();
    const reason = new Error('gone');
    const encode = engine.encodeImage.bind(engine);
    engine.encodeImage = async (image, options) => {
      leave.abort(reason);
      options?.signal?.throwIfAborted();
      return encode(image, options);
    };
    await expect(model.describe(plainImage(1), { signal: leave.signal })).rejects.toBe(reason);
    expect([engine.encoded.length, engine.liveImages]).toEqual([0, 0]);
    engine.encodeImage = encode;
    expect((await model.describe(plainImage(1))).text).toBe(LETTERS);
  });
});

describe('a mask', () => {
  /** Allows the given ids, one after another, then nothing. */
  const only = (ids: readonly number[]): { mask: TokenMask; accepted: number[] } => {
    const accepted: number[] = [];
    const apply = (logits: Float32Array) => {
      const allowed = ids[accepted.length];
      for (let id = 0; id < logits.length; id++) if (id !== allowed) logits[id] = Number.NEGATIVE_INFINITY;
    };
    return { mask: { apply, accept: (id) => void accepted.push(id) }, accepted };
  };

  test('decides what is written, is made when the text begins, and holds for drafts', async () => {
    const { model, tokenizer } = await createFakeModel({ writes: LETTERS });
    await using _ = model;
    const ids = [...tokenizer.encodeText('jihgfe'), tokenizer.specialTokenId('<|eot_id|>')!];
    let made = 0;
    const options: InternalGenerateOptions = {
      createMask: () => {
        made++;
        return only(ids).mask;
      },
    };
    for (const round of [1, 2, 3]) {
      expect((await model.ask(plainImage(1), 'What?', options)).text).toBe('jihgfe');
      expect(made).toBe(round);
    }
    const abort = { ...options, signal: AbortSignal.abort(new Error('early')) };
    await expect(model.ask(plainImage(1), 'What?', abort)).rejects.toThrow('early');
    expect(made).toBe(3);
  });

  test('that allows nothing more ends in a typed error with the text, and the model keeps what it has', async () => {
    const { model, tokenizer } = await createFakeModel({ writes: LETTERS });
    await using _ = model;
    const options: InternalGenerateOptions = { createMask: () => only([...tokenizer.encodeText('cab')]).mask };
    await expect(model.ask(plainImage(1), 'What?', options)).rejects.toMatchObject({
      code: 'ERR_ANSWER_INCOMPLETE',
      details: { text: 'cab' },
    });
    const { usage } = await model.ask(plainImage(1), 'What?');
    expect(usage.reusedTokens).toBe(usage.promptTokens - 1);
    expect(usage.reusedImages).toBe(1);
  });
});
