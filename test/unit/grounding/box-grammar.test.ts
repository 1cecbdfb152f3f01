/** Models that know nothing, asked for boxes in their own words: what they write can be nothing else. */
import { describe, expect, test } from 'vitest';
import { createRandom } from '#sdk/core/random.js';
import { asksForBoxes } from '#sdk/grounding/box-grammar.js';
import type { BoxConvention } from '#sdk/grounding/box-reader.js';
import { createTextGrounder } from '#sdk/grounding/text-grounder.js';
import type { Tokenizer } from '#sdk/text/tokenizer.js';
import { createFakeModel, plainImage } from '../../support/model.js';

const demo: BoxConvention = {
  format: 'json',
  labelKey: 'label',
  boxKey: 'box',
  order: 'xyxy',
  scale: 100,
  relativeTo: 'longer-side',
  bin: 'centre',
};
const CONVENTIONS: readonly (readonly [string, BoxConvention])[] = [
  ['hundredths of the longer side', demo],
  ['thousandths of each side', { ...demo, scale: 1000, relativeTo: 'axis', bin: 'edge' }],
  ['other names', { ...demo, labelKey: 'the "name"', boxKey: 'bbox_2d', scale: 224, bin: 'edge' }],
];
const prompts = { list: 'List.', locate: 'Where is the {label}?' };
const LIST = 'List.';
const WHERE = 'Where is the cup?';

/** What it likes most: anything, numbers beyond every scale, or to go on for ever. */
const TASTES = {
  anything: /(?!)/,
  numbers: /^[-+.eE\d]+$/,
  'no end': /^[[{,"a-z\s]+$/,
} as const;

/** Logits from nothing but the tokens so far, as engines' are. */
function hostile(tokenizer: Tokenizer, taste: keyof typeof TASTES, seed: number) {
  const liked = Array.from({ length: 1024 }, (_, id) => TASTES[taste].test(tokenizer.decode([id])));
  return (tokens: readonly number[]) => {
    const hash = tokens.reduce((sum, token) => (Math.imul(sum, 31) + token) | 0, seed);
    const random = createRandom(hash >>> 0);
    return Float32Array.from({ length: 1024 }, (_, id) => random() * 12 - 6 + (liked[id] && random() < 0.9 ? 9 : 0));
  };
}

async function answersOf(
  convention: BoxConvention,
  taste: keyof typeof TASTES,
  seed: number,
  questions = [LIST, WHERE],
) {
  const { model } = await createFakeModel({
    writes: (tokenizer) => hostile(tokenizer, taste, seed),
    engineInfo: { contextLength: 8_192, capabilities: { keyValueBytesPerToken: 1 } },
    parts: { grounder: createTextGrounder(convention, prompts) },
  });
  await using _ = model;
  const answers = [];
  for (const question of questions) {
    answers.push(await model.ask(plainImage(1, 200, 90), question, { maxNewTokens: 1_500, drafting: 'off' }));
  }
  return answers;
}

/** What is wrong with an answer; undefined: it is boxes, or says that the thing is absent. */
function faultOf(text: string, { labelKey, boxKey, scale, bin }: BoxConvention): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return `no JSON: ${text}`;
  }
  const highest = bin === 'centre' ? scale - 1 : scale;
  const isCoordinate = (each: unknown) => Number.isInteger(each) && Number(each) >= 0 && Number(each) <= highest;
  for (const entry of Array.isArray(value) ? value : [value]) {
    const { [labelKey]: label, [boxKey]: box, ...others } = entry as Record<string, unknown>;
    const isBox = box === null || (Array.isArray(box) && box.length === 4 && box.every(isCoordinate));
    if (typeof label !== 'string' || label.trim() === '' || !isBox || Object.keys(others).length > 0)
      return `no object of the convention: ${JSON.stringify(entry)}`;
  }
  return undefined;
}

describe('under hostile logits', () => {
  test.each(CONVENTIONS)(
    'every reply is boxes inside the picture, or says absent: %s',
    async (_, convention) => {
      const faults: string[] = [];
      let whole = 0;
      let boxes = 0;
      let absent = 0;
      for (const taste of Object.keys(TASTES) as (keyof typeof TASTES)[]) {
        for (let seed = 0; seed < 5; seed++) {
          for (const { text, finishReason, objects } of await answersOf(convention, taste, seed)) {
            // Cut off at the limit of tokens, it is the beginning of such a reply; the whole objects of it count.
            const fault = finishReason === 'stop' ? faultOf(text, convention) : undefined;
            if (fault !== undefined) faults.push(fault);
            if (finishReason === 'stop') whole++;
            if (objects.length === 0) absent++;
            boxes += objects.length;
            for (const { box, boxPixels, score, source } of objects) {
              const { x1, y1, x2, y2 } = box;
              const [left, top, right, bottom] = boxPixels;
              expect([0 <= x1 && x1 < x2 && x2 <= 1, 0 <= y1 && y1 < y2 && y2 <= 1]).toEqual([true, true]);
              expect([0 <= left && left <= right && right <= 200, 0 <= top && top <= bottom && bottom <= 90]).toEqual([
                true,
                true,
              ]);
              expect([score >= 0 && score <= 1, source]).toEqual([true, 'text']);
            }
          }
        }
      }
      expect(faults).toEqual([]);
      // Of each kind there were some, or nothing was tried.
      expect(whole).toBeGreaterThan(8);
      expect(boxes).toBeGreaterThan(2);
      expect(absent).toBeGreaterThan(5);
    },
    120_000,
  );

  test('the same models write no boxes at all where their convention is not enforced', async () => {
    for (let seed = 0; seed < 5; seed++) {
      for (const { text } of await answersOf({ ...demo, enforced: false }, 'anything', seed))
        expect(faultOf(text, demo)).toMatch(/^no JSON/);
    }
  });

  test('other questions are answered in any words', async () => {
    for (const { text } of await answersOf(demo, 'anything', 3, ['How many cups?', 'Describe.']))
      expect(faultOf(text, demo)).toMatch(/^no JSON/);
  });
});

test.each([
  ['List.', true],
  ['  List. ', true],
  ['Where is the red cup?', true],
  ['where is the red cup?', true],
  ['Where is the ?', false],
  ['Where is the red cup? Say why.', false],
  ['Where are the cups?', false],
  ['List', false],
])('%j asks for boxes: %s', (question, expected) => {
  expect(asksForBoxes(question, prompts)).toBe(expected);
});

test('a prompt that is the label alone tells no question apart', () => {
  expect(asksForBoxes('How many cups?', { list: 'List.', locate: '{label}' })).toBe(false);
});

test("a caller's own schema goes before the convention", async () => {
  const { model } = await createFakeModel({
    writes: (tokenizer) => hostile(tokenizer, 'anything', 1),
    parts: { grounder: createTextGrounder(demo, prompts) },
  });
  await using _ = model;
  const { value } = await model.ask(plainImage(1), WHERE, { schema: { enum: ['here', 'there'] } });
  expect(['here', 'there']).toContain(value);
});
