import { describe, expect, test } from 'vitest';
import type { GroundedObject } from '#sdk/core/types.js';
import type { Grounder, Judge } from '#sdk/grounding/index.js';
import { verifyObjects, verifyQuestion } from '#sdk/model/verification.js';
import { createFakeModel, plainImage } from '../../support/model.js';

function object(label: string, x = 0.25): GroundedObject {
  const box = { x1: x, y1: 0.25, x2: x + 0.25, y2: 0.75 };
  return { label, box, boxPixels: [x * 200, 25, x * 200 + 50, 75], score: 0.8, source: 'text' };
}

describe('verifyObjects', () => {
  test('asks about the cut-out of each and keeps what was refuted, with less of a score', async () => {
    const asked: unknown[] = [];
    const judge: Judge = async ({ width, height }, label) => {
      asked.push([label, width, height]);
      return label === 'cup' ? 0.9 : 0.1;
    };
    const objects = await verifyObjects(plainImage(1, 200, 100), [object('cup'), object('key')], judge);
    expect(asked).toEqual([
      ['cup', 100, 100],
      ['key', 100, 100],
    ]);
    expect(objects.map(({ label, verified }) => [label, verified])).toEqual([
      ['cup', true],
      ['key', false],
    ]);
    expect(objects[0]!.score).toBeCloseTo(1 / (1 + 1 / 6), 6); // odds 4 and 9: their geometric mean
    expect(objects[1]!.score).toBeCloseTo(0.4, 6);
  });

  test('combines as was measured for the source of the box', async () => {
    const scalings = { text: { score: 0, yes: 1, bias: 0 } };
    const boxes = [object('cup'), { ...object('cup'), source: 'detector' } as const];
    const [text, detector] = await verifyObjects(plainImage(1, 200, 100), boxes, async () => 0.6, scalings);
    expect(text!.score).toBeCloseTo(0.6, 9);
    expect(detector!.score).not.toBeCloseTo(0.6, 2);
  });

  test('does not ask twice, and about sixteen at most', async () => {
    let asked = 0;
    const judge: Judge = async () => {
      asked++;
      return 0.7;
    };
    const known = { ...object('cup'), verified: false, score: 0.1 };
    const many = Array.from({ length: 20 }, () => object('cup'));
    const objects = await verifyObjects(plainImage(1, 200, 100), [known, ...many], judge);
    expect(asked).toBe(16);
    expect(objects[0]).toEqual(known);
    expect(objects.map(({ verified }) => verified)).toEqual([
      false,
      ...Array.from({ length: 16 }, () => true),
      ...Array.from({ length: 4 }, () => undefined),
    ]);
  });
});

test.each([
  ['Is there a {label}?', 'red cup', 'Is there a red cup?'],
  ['Is there a {label}?', 'orange', 'Is there an orange?'],
  ['A {label}?', 'apple', 'An apple?'],
  ['Gibt es {label}?', 'Eis', 'Gibt es Eis?'],
  ['Is there a {label}?', '$& {label}', 'Is there a $& {label}?'],
])('asks %o about %o', (prompt, label, question) => {
  expect(verifyQuestion(prompt, label)).toBe(question);
});

describe('a model', () => {
  const grounder: Grounder = { source: 'detector', ground: async () => [{ ...object('cup'), source: 'detector' }] };
  /** Its answer to every question, those of verifications too. */
  const writes = 'Yes';

  test('verifies only where that is asked for, and counts what it takes', async () => {
    const { model } = await createFakeModel({ writes, parts: { grounder } });
    await using _ = model;
    const image = plainImage(1, 200, 100);
    const plain = await model.ask(image, 'Where is the cup?');
    const verified = await model.ask(image, 'Where is the cup?', { verify: true });
    expect(plain.objects).toEqual([{ ...object('cup'), source: 'detector' }]);
    expect(plain.usage.images).toBe(1);
    expect(verified.objects).toMatchObject([{ label: 'cup', verified: true }]);
    expect(verified.usage.images).toBe(2);
    expect(verified.usage.promptTokens).toBeGreaterThan(plain.usage.promptTokens);
    expect(verified.text).toBe(plain.text);
  });

  test('verifies by itself where it was loaded so, unless a request says no', async () => {
    const sampling = { doSample: false, temperature: 1, topP: 1, eosTokenIds: [], verify: true };
    const { model } = await createFakeModel({ writes, parts: { grounder, sampling } });
    await using _ = model;
    const options = { maxNewTokens: 1 };
    const verdict = async (verify?: boolean) =>
      (await model.ask(plainImage(1, 200, 100), 'Where?', { ...options, verify })).objects[0]!.verified;
    expect([await verdict(), await verdict(true), await verdict(false)]).toEqual([true, true, undefined]);
  });

  test('gives grounders the question and a judge', async () => {
    const requests: unknown[] = [];
    const asking: Grounder = {
      source: 'detector',
      ground: async ({ question, image, judge }) => {
        requests.push([question, await judge!(image, 'cup')]);
        return [];
      },
    };
    const { model } = await createFakeModel({ writes, parts: { grounder: asking } });
    await using _ = model;
    const { usage } = await model.ask(plainImage(1), 'Where is the cup?');
    expect(requests).toEqual([['Where is the cup?', expect.closeTo(1, 2)]]);
    expect(usage.images).toBe(2);
  });

  test('lets a grounder decide by it, with scores as its folder combines them, and does not ask again', async () => {
    const scores = { verified: { detector: { score: 0, yes: 0, bias: -1, threshold: 0.5 } } };
    const deciding: Grounder = {
      source: 'detector',
      ground: async ({ verify }) => await verify!([{ ...object('cup'), source: 'detector' }]),
    };
    const { model } = await createFakeModel({ writes, parts: { grounder: deciding, scores } });
    await using _ = model;
    const { objects, usage } = await model.ask(plainImage(1), 'Where is the cup?', { verify: true });
    // The model says yes, which counts nothing here.
    expect(objects).toMatchObject([{ verified: false, score: expect.closeTo(1 / (1 + Math.E), 9) }]);
    expect(usage.images).toBe(2);
  });

  test('turns what its folder has measured into probabilities: of boxes, of yes and no, not of a detector', async () => {
    const scores = { text: { temperature: 1, bias: -3 }, yesNo: { temperature: 2, bias: 0 } };
    const text: Grounder = {
      source: 'text',
      ground: async () => [object('cup'), { ...object('key'), source: 'detector' }],
    };
    const { model } = await createFakeModel({ writes, parts: { grounder: text, scores } });
    const { model: raw } = await createFakeModel({ writes, parts: { grounder: text } });
    await using _ = model;
    await using __ = raw;
    const image = plainImage(1, 200, 100);
    const { objects } = await model.ask(image, 'What is there?');
    expect(objects[0]!.score).toBeCloseTo((4 * Math.exp(-3)) / (1 + 4 * Math.exp(-3)), 6);
    expect(objects[1]!.score).toBe(0.8);
    const [scaled, unscaled] = [model, raw].map((each) => each.decide(image, 'Is there a cup?', { type: 'yes-no' }));
    const odds = async (decision: typeof scaled) => (await decision!).probability / (1 - (await decision!).probability);
    expect((await odds(scaled)) ** 2 / (await odds(unscaled))).toBeCloseTo(1, 4);
    // Numbers are none of that.
    const among = { type: 'number', min: 0, max: 3 } as const;
    expect((await model.decide(image, 'How many?', among)).options).toEqual(
      (await raw.decide(image, 'How many?', among)).options,
    );
  });

  test('refuses a verify that is neither true nor false', async () => {
    const { model } = await createFakeModel({ writes });
    await using _ = model;
    const answer = model.ask(plainImage(1), 'Where?', { verify: 'yes' as never });
    await expect(answer).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID', details: { option: 'verify' } });
  });
});
