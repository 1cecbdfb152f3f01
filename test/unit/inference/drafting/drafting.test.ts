import { describe, expect, test } from 'vitest';
import { Acceptance } from '#sdk/inference/drafting/acceptance.js';
import { isCloseCall } from '#sdk/inference/drafting/close-call.js';
import { Drafting } from '#sdk/inference/drafting/drafting.js';
import { VerifyCost } from '#sdk/inference/drafting/verify-cost.js';

const PROMPT = Int32Array.of(1000, 1001, 1002);
const ANSWER = Array.from({ length: 60 }, (_, i) => i);

/** Plain decoding of an answer, each call taking `ms(1)`. */
function writeAnswer(drafting: Drafting, answer: readonly number[], ms: (rows: number) => number) {
  const session = drafting.begin(PROMPT);
  for (const id of answer) {
    session.accept(id);
    session.observe(1, ms(1));
  }
  session.remember();
}

/** Decodes `answer` with drafts on an engine that takes `ms(rows)`; how many tokens each call drafted. */
function draftAnswer(drafting: Drafting, answer: readonly number[], ms: (rows: number) => number): number[] {
  const session = drafting.begin(PROMPT);
  const lengths: number[] = [];
  let written = 0;
  while (written < answer.length) {
    session.accept(answer[written++]!);
    const draft = session.propose(answer.length - written);
    lengths.push(draft.length);
    session.observe(1 + draft.length, ms(1 + draft.length));
    for (const id of draft) {
      if (answer[written] !== id) break;
      session.accept(answer[written++]!);
    }
  }
  session.remember();
  return lengths;
}

describe('drafting', () => {
  const cheap = (rows: number) => 10 + rows * 0.1;

  test('drafts nothing before the cost of one row is known', () => {
    const drafting = new Drafting();
    const session = drafting.begin(Int32Array.of(1, 2, 3, 1, 2));
    expect(session.propose(10)).toEqual([]);
    session.observe(1, 10);
    expect(session.propose(10)).toEqual([3, 1, 2]);
  });

  test('drafts the previous answer to the same prompt, longer as it comes true', () => {
    const drafting = new Drafting();
    writeAnswer(drafting, ANSWER, cheap);
    const lengths = draftAnswer(drafting, ANSWER, cheap);
    expect(lengths.reduce((sum, length) => sum + length + 1, 0)).toBe(ANSWER.length);
    expect(lengths.length).toBeLessThan(12);
    expect(draftAnswer(drafting, ANSWER, cheap)).toEqual([15, 15, 15, 11]);
    expect(drafting.begin(Int32Array.of(7)).propose(10)).toEqual([]); // another prompt
  });

  test('never drafts more than asked for', () => {
    const drafting = new Drafting();
    for (let i = 0; i < 3; i++) writeAnswer(drafting, ANSWER, cheap);
    const session = drafting.begin(PROMPT);
    session.accept(ANSWER[0]!);
    expect(session.propose(4)).toEqual(ANSWER.slice(1, 5));
    expect(session.propose(0)).toEqual([]);
  });

  test('falls silent where guesses fail, though they cost nothing to verify', () => {
    const drafting = new Drafting();
    let seed = 1;
    const noise = () =>
      Array.from({ length: 60 }, () => {
        seed = (seed * 48_271) % 2_147_483_647;
        return seed % 500;
      });
    for (let i = 0; i < 8; i++) writeAnswer(drafting, noise(), cheap);
    const lengths = draftAnswer(drafting, noise(), (rows) => rows * 10);
    expect(lengths.filter((length) => length > 0).length).toBeLessThan(3);
  });

  test('falls silent where verifying costs as much as decoding, and tries again later', () => {
    const drafting = new Drafting();
    const dear = (rows: number) => 10 * rows;
    writeAnswer(drafting, ANSWER, dear);
    const tried = draftAnswer(drafting, ANSWER, dear).filter((length) => length > 0);
    expect(tried.length).toBeGreaterThan(0); // it has to measure
    for (let i = 0; i < 3; i++) draftAnswer(drafting, ANSWER, dear);
    expect(draftAnswer(drafting, ANSWER, dear).every((length) => length === 0)).toBe(true);
    // The machine is no longer busy: what was measured long ago does not count for ever.
    const later = Array.from({ length: 10 }, () => draftAnswer(drafting, ANSWER, cheap)).flat();
    expect(later.some((length) => length === 15)).toBe(true);
  });

  test('chooses a length that fits the cost of rows', () => {
    const drafting = new Drafting();
    const steep = (rows: number) => (rows <= 4 ? 10 : 10 * rows); // four rows in one, as a kernel with four lanes
    for (let i = 0; i < 6; i++) draftAnswer(drafting, ANSWER, steep);
    const lengths = draftAnswer(drafting, ANSWER, steep);
    expect(lengths.filter((length) => length === 3).length).toBeGreaterThan(lengths.length / 2);
  });
});

describe('acceptance', () => {
  test('learns by length of the match', () => {
    const acceptance = new Acceptance(() => 0.5);
    for (let i = 0; i < 200; i++) {
      acceptance.observe(0, i % 4 === 0);
      acceptance.observe(12, true);
    }
    expect(acceptance.probability(0)).toBeGreaterThan(0.15);
    expect(acceptance.probability(0)).toBeLessThan(0.35);
    expect(acceptance.probability(12)).toBeGreaterThan(0.98);
    expect(acceptance.probability(3)).toBe(0.5);
  });

  test('expects one token without a draft, and less of each further one', () => {
    const acceptance = new Acceptance(() => 0.5);
    expect(acceptance.expectedTokens(0, 3)).toEqual([1, 1.5, 1.75, 1.875]);
  });
});

describe('the cost of verifying', () => {
  test('is what was measured last, busy moments left out', () => {
    const cost = new VerifyCost();
    expect([cost.oneTokenMs, cost.estimateMs(4)]).toEqual([undefined, undefined]);
    for (const ms of [10, 11, 500, 9, 10]) cost.observe(1, ms);
    for (const ms of [20, 21, 400]) cost.observe(4, ms);
    expect([cost.oneTokenMs, cost.estimateMs(3), cost.estimateMs(4)]).toEqual([10, 20, 20]);
  });

  test('is assumed modestly until it was measured three times, so that one bad moment rules nothing out', () => {
    const cost = new VerifyCost();
    cost.observe(1, 10);
    expect(cost.estimateMs(6)).toBeCloseTo(16);
    cost.observe(6, 900);
    cost.observe(6, 900);
    expect(cost.estimateMs(6)).toBeCloseTo(16);
    cost.observe(6, 900);
    expect(cost.estimateMs(6)).toBe(900);
  });
});

describe('close calls', () => {
  test('are two highest logits nearer than the margin, whatever a mask left', () => {
    expect(isCloseCall(Float32Array.of(1, 5, 4.9, 0), 0.2)).toBe(true);
    expect(isCloseCall(Float32Array.of(1, 5, 4.5, 0), 0.2)).toBe(false);
    expect(isCloseCall(Float32Array.of(5, 1, 2, 5), 1e-9)).toBe(true);
    expect(isCloseCall(Float32Array.of(Number.NEGATIVE_INFINITY, 5, Number.NEGATIVE_INFINITY), 0.5)).toBe(false);
  });
});
