import { describe, expect, test } from 'vitest';
import { createRandom } from '#sdk/core/random.js';
import type { Decidable } from '#sdk/model/decidable.js';
import type { Tokenizer } from '#sdk/text/tokenizer.js';
import { createFakeModel, HEADER, plainImage } from '../../support/model.js';

/** What a model finds probable behind each beginning of its answer; the rest of 1 goes to a token that is no answer. */
type Table = Readonly<Record<string, Readonly<Record<string, number>>>>;

async function model(table: Table, engineInfo = {}) {
  return await createFakeModel({
    writes: (tokenizer) => (tokens) => rowOf(tokenizer, table, tokens),
    engineInfo,
  });
}

function rowOf(tokenizer: Tokenizer, table: Table, tokens: readonly number[]): Float32Array {
  const header = tokenizer.encodeTemplate(HEADER);
  const start = tokens.lastIndexOf(header[0]!) + header.length;
  const next = table[tokenizer.decode(tokens.slice(start))] ?? {};
  const row = new Float32Array(1024).fill(Number.NEGATIVE_INFINITY);
  const said = Object.entries(next).map(
    ([text, probability]) => [tokenizer.encodeText(text)[0]!, probability] as const,
  );
  const rest = 1 - said.reduce((sum, [, probability]) => sum + probability, 0);
  row[tokenizer.specialTokenId('<|eot_id|>')!] = Math.log(Math.max(rest, 1e-9));
  for (const [id, probability] of said) row[id] = Math.log(probability);
  return row;
}

const yesNo: Decidable = { type: 'yes-no' };
const decideIn = async (table: Table, among: Decidable, engineInfo = {}) => {
  const fake = await model(table, engineInfo);
  await using _ = fake.model;
  const decision = await fake.model.decide(plainImage(1), 'What?', among);
  const chances = new Map(decision.options.map(({ value, probability }) => [value, probability]));
  return { decision, chances, engine: fake.engine };
};

describe('decide', () => {
  test('reads yes or no from the first row behind the prompt, in every spelling, and writes nothing', async () => {
    const { decision, chances, engine } = await decideIn({ '': { Y: 0.5, y: 0.1, N: 0.2 } }, yesNo);
    expect(decision.value).toBe(true);
    expect(decision.probability).toBeCloseTo(0.75, 5);
    expect(chances.get(false)).toBeCloseTo(0.25, 5);
    expect(decision.coverage).toBeCloseTo(0.8, 5);
    expect(engine.forwards).toHaveLength(1);
    expect(decision.usage).toMatchObject({
      generatedTokens: 0,
      images: 1,
      promptTokens: engine.forwards[0]!.tokens.length,
    });
    expect(decision.timings.engineCalls).toBe(1);
  });

  test('tells options apart where they part, however long they begin alike', async () => {
    const table = { '': { a: 0.9 }, a: { b: 0.8 }, ab: { x: 0.25, y: 0.5 } };
    const { decision, chances, engine } = await decideIn(table, { type: 'choice', choices: ['abx', 'aby'] });
    expect(decision.value).toBe('aby');
    expect(chances.get('abx')).toBeCloseTo(1 / 3, 5);
    expect(decision.coverage).toBeCloseTo(0.9 * 0.8 * 0.75, 5);
    expect(engine.forwards.map(({ tokens }) => tokens.length).slice(1)).toEqual([2]); // `ab`, in one call
  });

  test('tells many options with one beginning apart in one call behind the prompt', async () => {
    const beginning = 'by a door-';
    const path = Object.fromEntries([...beginning].map((next, i) => [beginning.slice(0, i), { [next]: 0.9 }]));
    const letters = 'abcdefghijklmnopqrst';
    const last = Object.fromEntries([...letters].map((letter) => [letter, letter === 'k' ? 0.5 : 0.02]));
    const choices = [...letters].map((letter) => beginning + letter);
    const { decision, engine } = await decideIn({ ...path, [beginning]: last }, { type: 'choice', choices });
    expect(decision.value).toBe('by a door-k');
    expect(decision.options).toHaveLength(20);
    expect(engine.forwards).toHaveLength(2);
    expect(engine.forwards[1]!.tokens).toHaveLength(beginning.length);
    expect(decision.timings.engineCalls).toBe(2);
  });

  test('takes one call for each beginning that is probable', async () => {
    const both = { x: 0.4, y: 0.5 };
    const table = { '': { a: 0.5, b: 0.3, c: 0.001 }, a: both, b: both, c: both };
    const choices = ['ax', 'ay', 'bx', 'by', 'cx', 'cy'];
    const { decision, chances, engine } = await decideIn(table, { type: 'choice', choices });
    expect(decision.value).toBe('ay');
    expect(chances.get('cx')).toBeCloseTo(chances.get('cy')!, 9);
    expect(engine.forwards).toHaveLength(3);
  });

  describe('where the engine computes alternatives together', () => {
    const together = { contextLength: 1_024, capabilities: { branchTokens: 256 } };
    const apart = { contextLength: 1_024 };

    test('all probable beginnings, and what parts behind them, are scored in one call', async () => {
      const next = (letters: string, share: number) => Object.fromEntries([...letters].map((each) => [each, share]));
      const groups = ['left ', 'right ', 'middle '];
      const choices = groups.flatMap((group) => [...'abc'].flatMap((row) => [`${group}${row}1`, `${group}${row}2`]));
      const path = (text: string) =>
        Object.fromEntries([...text].slice(1).map((each, i) => [text.slice(0, i + 1), { [each]: 0.95 }]));
      const table = {
        '': { l: 0.4, r: 0.35, m: 0.2 },
        ...Object.assign({}, ...groups.map((group) => ({ ...path(group), [group]: next('abc', 0.3) }))),
        ...Object.fromEntries(choices.map((each) => [each.slice(0, -1), { '1': 0.2, '2': 0.7 }])),
      };
      const among: Decidable = { type: 'choice', choices };
      const batched = await decideIn(table, among, together);
      expect(batched.engine.forwards).toHaveLength(2);
      expect(batched.engine.forwards[1]!.pastLength).toBe(batched.decision.usage.promptTokens);
      expect(batched.decision.timings.engineCalls).toBe(2);
      const single = await decideIn(table, among, apart);
      expect(single.engine.forwards).toHaveLength(1 + 3 + 9);
      expect(batched.decision.options).toEqual(single.decision.options);
      expect(batched.decision.coverage).toBeCloseTo(single.decision.coverage, 12);
      expect(batched.decision.value).toMatch(/^left [abc]2$/);
    });

    test('gives what one after another gives, whatever the model finds probable', async () => {
      const random = createRandom(5);
      let fewer = 0;
      for (let round = 0; round < 40; round++) {
        const length = () => 1 + Math.floor(random() * 5);
        const word = () => Array.from({ length: length() }, () => 'ab'[Math.floor(random() * 2)]).join('');
        const choices = [...new Set(Array.from({ length: 12 }, word))];
        const beginnings = choices.flatMap((each) => [...each].map((_, i) => each.slice(0, i)));
        const table = Object.fromEntries(
          beginnings.map((each) => {
            const [a, b, rest] = [random(), random(), random() / 4];
            return [each, { a: a / (a + b + rest), b: b / (a + b + rest) }];
          }),
        );
        const [batched, single] = [
          await decideIn(table, { type: 'choice', choices }, together),
          await decideIn(table, { type: 'choice', choices }, apart),
        ];
        expect(batched.engine.forwards.length).toBeLessThanOrEqual(2);
        if (batched.engine.forwards.length < single.engine.forwards.length) fewer++;
        for (const [value, probability] of single.chances) {
          // What is not worth a call of its own is divided; in one call it costs nothing and is looked into.
          expect(Math.abs(batched.chances.get(value)! - probability)).toBeLessThan(0.03);
        }
      }
      expect(fewer).toBeGreaterThan(20);
    });

    test.each([
      ['context', { ...together, contextLength: 40 }, {}],
      ['memory', together, { keyValueCache: { maxBytes: 70_000 } }],
    ])('one after another where there is no room for all: %s', async (_, engineInfo, parts) => {
      const both = { x: 0.4, y: 0.5 };
      const table = { '': { a: 0.5, b: 0.3, c: 0.1 }, a: both, b: both, c: both };
      const fake = await createFakeModel({
        writes: (tokenizer) => (tokens) => rowOf(tokenizer, table, tokens),
        engineInfo,
        parts,
      });
      await using _model = fake.model;
      const choices = ['ax', 'ay', 'bx', 'by', 'cx', 'cy'];
      const decision = await fake.model.decide(plainImage(1), 'What?', { type: 'choice', choices });
      expect(decision.value).toBe('ay');
      expect(fake.engine.forwards).toHaveLength(4);
    });
  });

  test('tries what goes on from a beginning without computing that again', async () => {
    const table = { '': { a: 0.9 }, a: { b: 0.5, c: 0.4 }, ab: { x: 0.4, y: 0.5 }, ac: { x: 0.5, y: 0.4 } };
    const { engine } = await decideIn(table, { type: 'choice', choices: ['abx', 'aby', 'acx', 'acy'] });
    const prompt = engine.forwards[0]!.tokens.length;
    expect(engine.forwards.slice(1).map(({ tokens, pastLength }) => [pastLength - prompt, tokens.length])).toEqual([
      [0, 1],
      [1, 1],
      [1, 1],
    ]);
  });

  test('takes a beginning of another option for itself when something else follows', async () => {
    const table = { '': { a: 0.8, c: 0.1 }, a: { b: 0.25 } };
    const { decision, chances } = await decideIn(table, { type: 'choice', choices: ['a', 'ab', 'c'] });
    expect(decision.value).toBe('a');
    expect(chances.get('ab')).toBeCloseTo((0.8 * 0.25) / 0.9, 5);
    expect(chances.get('a')).toBeCloseTo((0.8 * 0.75) / 0.9, 5);
    expect(chances.get('c')).toBeCloseTo(0.1 / 0.9, 5);
    expect(decision.options.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 9);
  });

  test('does not look into what hardly anybody would say', async () => {
    const table = { '': { '3': 0.98, a: 0.01 }, a: { b: 1 } };
    const { decision, engine } = await decideIn(table, { type: 'choice', choices: ['3', 'ab', 'ac'] });
    expect(decision.value).toBe('3');
    expect(engine.forwards).toHaveLength(1);
  });

  test('goes on from what questions share, and leaves only the prompt behind', async () => {
    const { model: shared, engine } = await model({ '': { a: 0.5 }, a: { b: 0.6, c: 0.3 } });
    await using _ = shared;
    const among: Decidable = { type: 'choice', choices: ['ab', 'ac'] };
    const first = await shared.decide(plainImage(1), 'Which one?', among);
    const second = await shared.decide(plainImage(1), 'Which of all?', among);
    expect(second.usage).toMatchObject({ reusedImages: 1 });
    expect(second.usage.reusedTokens).toBeGreaterThan(0);
    expect(engine.encoded).toHaveLength(1);
    expect(engine.forwards[2]!.pastLength).toBe(second.usage.reusedTokens);
    const again = await shared.decide(plainImage(1), 'Which of all?', among);
    expect(again.options).toEqual(second.options);
    expect(again.usage.reusedTokens).toBe(again.usage.promptTokens - 1);
    expect(first.value).toBe('ab');
  });

  test('reads small numbers, in digits and words', async () => {
    const { decision, chances, engine } = await decideIn(
      { '': { '3': 0.5, T: 0.2, '2': 0.1 } },
      { type: 'number', max: 9 },
    );
    expect(decision.value).toBe(3);
    expect(chances.get(2)).toBeGreaterThan(0.1); // T of Two, Three and Ten parts later
    expect(decision.options).toHaveLength(10);
    expect(engine.forwards.length).toBeLessThanOrEqual(2);
  });

  test('computes long prompts in slices', async () => {
    const { decision, engine } = await decideIn({ '': { Y: 0.9 } }, yesNo, { capabilities: { sliceTokens: 8 } });
    expect(decision.value).toBe(true);
    expect(engine.forwards.length).toBeGreaterThan(1);
    expect(decision.timings.engineCalls).toBe(engine.forwards.length);
  });

  test.each([
    [{ type: 'maybe' }, 'yes-no'],
    [{ type: 'choice', choices: ['one'] }, '2 to 64 different choices'],
    [{ type: 'choice', choices: ['a', 'a'] }, '2 to 64 different choices'],
    [{ type: 'choice', choices: ['a', ' '] }, '2 to 64 different choices'],
    [{ type: 'number', min: 3, max: 3 }, 'min < max'],
    [{ type: 'number', max: 1e9 }, 'min < max'],
  ])('refuses %j', async (among, message) => {
    const { model: fake } = await model({});
    await using _ = fake;
    await expect(fake.decide(plainImage(1), 'What?', among as Decidable)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining(message),
    });
  });

  test('ends with its signal and its deadline like every request, and refuses an empty question', async () => {
    const fake = await model({ '': { Y: 1 } });
    await using _ = fake.model;
    const aborted = AbortSignal.abort(new Error('enough'));
    await expect(fake.model.decide(plainImage(1), 'What?', yesNo, { signal: aborted })).rejects.toThrow('enough');
    fake.engine.onForward = () => new Promise((resolve) => setTimeout(resolve, 50));
    await expect(fake.model.decide(plainImage(1), 'What?', yesNo, { deadlineMs: 1 })).rejects.toMatchObject({
      code: 'ERR_REQUEST_EXPIRED',
    });
    await expect(fake.model.decide(plainImage(1), ' ', yesNo)).rejects.toMatchObject({ code: 'ERR_PROMPT_INVALID' });
  });
});
