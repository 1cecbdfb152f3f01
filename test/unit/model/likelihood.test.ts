import { describe, expect, test } from 'vitest';
import { rankImages, rankTexts } from '#sdk/model/matching.js';
import { createFakeModel, HEADER, plainImage, processed } from '../../support/model.js';

/** How probable each next letter is behind what was said; the rest of 1 goes to a token that is no letter. */
type Table = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** @param about what is said with a picture, by the first byte of its pixels; `none` without one */
async function model(about: Readonly<Record<string, Table>>, engineInfo = {}) {
  const shown = new Map<number, number>();
  const fake = await createFakeModel({
    engineInfo,
    writes: (tokenizer) => (tokens, images) => {
      const header = tokenizer.encodeTemplate(HEADER);
      const start = tokens.lastIndexOf(header[0]!) + header.length;
      const said = tokenizer.decode(tokens.slice(start));
      const seen = images.length === 0 ? 'none' : String(shown.get((images[0]!.image as unknown as { id: number }).id));
      const row = new Float32Array(1024).fill(Number.NEGATIVE_INFINITY);
      const next = Object.entries(about[seen]?.[said] ?? {});
      const rest = 1 - next.reduce((sum, [, probability]) => sum + probability, 0);
      row[tokenizer.specialTokenId('<|eot_id|>')!] = Math.log(Math.max(rest, 1e-9));
      for (const [letter, probability] of next) row[tokenizer.encodeText(letter)[0]!] = Math.log(probability);
      return row;
    },
    parts: {
      processor: {
        process: async (image) => {
          shown.set(shown.size + 1, image.data[0]!);
          return processed(image);
        },
      },
    },
  });
  return fake;
}

const ABC: Table = { '': { A: 0.5, B: 0.25 }, A: { b: 0.4 }, Ab: { c: 0.2 } };

describe('the likelihood of texts', () => {
  test('is the product over their tokens, from one prefill, and leaves nothing behind', async () => {
    const fake = await model({ 1: ABC });
    await using _ = fake.model;
    const { texts, usage, timings } = await fake.model.likelihood(plainImage(1), ['Abc', 'B', 'Ab']);
    expect(texts.map(({ text, tokens }) => [text, tokens])).toEqual([
      ['Abc', 3],
      ['B', 1],
      ['Ab', 2],
    ]);
    const chances = texts.map(({ logProbability }) => Math.exp(logProbability));
    for (const [i, chance] of [0.5 * 0.4 * 0.2, 0.25, 0.5 * 0.4].entries()) expect(chances[i]).toBeCloseTo(chance, 6);
    // The prompt, then what of each text a further token depends on.
    expect(fake.engine.forwards.map(({ tokens }) => tokens.length)).toEqual([usage.promptTokens, 2, 1]);
    expect(new Set(fake.engine.forwards.slice(1).map(({ pastLength }) => pastLength))).toEqual(
      new Set([usage.promptTokens]),
    );
    expect(timings.engineCalls).toBe(3);
    expect(usage).toMatchObject({ generatedTokens: 0, images: 1, reusedImages: 0 });
    const again = await fake.model.likelihood(plainImage(1), ['Abc']);
    expect(again.texts[0]).toEqual(texts[0]);
    expect(again.usage.reusedTokens).toBe(usage.promptTokens - 1);
  });

  test('is of a text alone without a picture, and of long texts in several calls', async () => {
    const letters = 'abcdefghij'.repeat(7);
    const table = Object.fromEntries([...letters].map((letter, i) => [letters.slice(0, i), { [letter]: 0.5 }]));
    const fake = await model({ none: table });
    await using _ = fake.model;
    const { texts, usage } = await fake.model.likelihood(undefined, [letters]);
    expect(usage.images).toBe(0);
    expect(texts[0]!.logProbability).toBeCloseTo(70 * Math.log(0.5), 3);
    expect(fake.engine.forwards.slice(1).map(({ tokens }) => tokens.length)).toEqual([32, 32, 5]);
  });

  test('stays the same when something urgent goes first in between', async () => {
    const fake = await model({ 1: ABC, 2: ABC });
    await using _ = fake.model;
    const before = await fake.model.likelihood(plainImage(1), ['Abc', 'Ab']);
    let urgent: Promise<unknown> | undefined;
    fake.engine.onForward = () => {
      urgent ??= fake.model.ask(plainImage(2), 'Now?', { priority: 'urgent', caller: 'other' });
    };
    const between = await fake.model.likelihood(plainImage(1), ['Abc', 'Ab'], { priority: 'description' });
    await urgent;
    expect(between.texts).toEqual(before.texts);
  });

  test.each([
    [[], 'ERR_ARGUMENT_INVALID', /received \[\]/],
    [['a', ''], 'ERR_ARGUMENT_INVALID', /an empty one/],
    [['a', 7], 'ERR_ARGUMENT_INVALID', /received 7/],
    ['text', 'ERR_ARGUMENT_INVALID', /received "text"/],
    [new Array(257).fill('a'), 'ERR_LIMIT_EXCEEDED', /at most 256 texts but received 257/],
    [['a'.repeat(300)], 'ERR_CONTEXT_OVERFLOW', /at most 256 tokens together/],
  ])('refuses %j', async (texts, code, message) => {
    const fake = await model({ 1: ABC });
    await using _ = fake.model;
    const refused = fake.model.likelihood(plainImage(1), texts as string[]);
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(fake.engine.forwards).toEqual([]);
  });
});

describe('matching', () => {
  const PRIOR: Table = { '': { A: 0.5, B: 0.1 } };
  const about = { none: PRIOR, 1: { '': { A: 0.6, B: 0.3 } }, 2: { '': { A: 0.5, B: 0.05 } }, 3: { '': { B: 0.9 } } };

  test('takes the text whose probability the picture raises most, not the most probable one', async () => {
    const fake = await model(about);
    await using _ = fake.model;
    const ranked = await rankTexts(fake.model, plainImage(1), ['a', 'b']);
    // Typed without a capital, measured as a sentence.
    expect(ranked.map(({ text }) => text)).toEqual(['b', 'a']);
    expect(ranked[0]!.score).toBeCloseTo(Math.log(0.3 / 0.1), 5);
    expect(ranked[1]!.score).toBeCloseTo(Math.log(0.6 / 0.5), 5);
  });

  test('puts pictures in the order of a text, leaves out what cannot be opened, and opens few at once', async () => {
    const fake = await model(about);
    await using _ = fake.model;
    let open = 0;
    let most = 0;
    const ranked = await rankImages(fake.model, 'b', [1, 2, 7, 3, 1, 2, 3, 1, 2], async (value) => {
      most = Math.max(most, ++open);
      await new Promise(setImmediate);
      open--;
      return value === 7 ? undefined : plainImage(value);
    });
    expect(ranked.map(({ source }) => source)).toEqual([3, 3, 1, 1, 1, 2, 2, 2]);
    expect(ranked[0]!.score).toBeCloseTo(Math.log(0.9 / 0.1), 5);
    expect(most).toBeLessThanOrEqual(4);
  });

  test('ends with the first picture that fails, and when it is aborted', async () => {
    const fake = await model(about);
    await using _ = fake.model;
    const opened: number[] = [];
    const failing = rankImages(fake.model, 'b', [...new Array(50).keys()], async (value) => {
      opened.push(value);
      if (value === 2) throw new Error('gone');
      return plainImage(1);
    });
    await expect(failing).rejects.toThrow('gone');
    expect(opened.length).toBeLessThan(20);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(rankImages(fake.model, 'b', [1], async () => plainImage(1), { signal })).rejects.toThrow('enough');
    await expect(rankImages(fake.model, ' ', [1], async () => plainImage(1))).rejects.toMatchObject({
      code: 'ERR_PROMPT_INVALID',
    });
  });
});
