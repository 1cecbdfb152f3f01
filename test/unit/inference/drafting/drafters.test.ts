import { describe, expect, test } from 'vitest';
import { AnswerMemory } from '#sdk/inference/drafting/answer-memory.js';
import type { Drafter } from '#sdk/inference/drafting/drafter.js';
import { PromptLookupDrafter } from '#sdk/inference/drafting/prompt-lookup.js';
import { TemporalDrafter } from '#sdk/inference/drafting/temporal.js';

/** Letters as tokens, for reading. */
const ids = (text: string) => Array.from(text, (character) => character.codePointAt(0)!);
const accept = <T extends Drafter>(drafter: T, text: string): T => {
  for (const id of ids(text)) drafter.accept(id);
  return drafter;
};
const proposed = (drafter: Drafter, most = 4) => {
  const draft = drafter.propose(most);
  return draft && { text: String.fromCodePoint(...draft.tokens), matched: draft.matched };
};

describe('prompt lookup', () => {
  const start = (prompt: string) => new PromptLookupDrafter(ids(prompt));

  test('proposes what followed the last two tokens before', () => {
    expect(proposed(start('where is the cup? wh'))).toEqual({ text: 'ere ', matched: 2 });
  });

  test('takes the last of several occurrences, and counts how far they agree', () => {
    expect(proposed(start('xab1 yab2 zab3 yab'))).toEqual({ text: '3 ya', matched: 2 });
    expect(proposed(start('-ab1 +ab2 -ab1 +ab'))).toEqual({ text: '1 +a', matched: 2 });
    expect(proposed(accept(start('one two '), 'one tw'))).toEqual({ text: 'o on', matched: 6 });
  });

  test('follows a match while it comes true, and looks again when it does not', () => {
    const drafter = start('abcdef ghijkl ab');
    expect(proposed(accept(drafter, 'c'))).toEqual({ text: 'def ', matched: 3 });
    expect(proposed(accept(drafter, 'x'))).toBeUndefined();
    expect(proposed(accept(drafter, 'gh'))).toEqual({ text: 'ijkl', matched: 2 });
  });

  test('finds repetition in the answer alone', () => {
    expect(proposed(accept(start(''), 'abcabc'))).toEqual({ text: 'abc', matched: 3 });
  });

  test.each(['', 'a', 'ab', 'abc', 'aa'])('has no idea after %o', (prompt) => {
    expect(proposed(start(prompt))).toBeUndefined();
  });

  test('proposes no more than asked for', () => {
    expect(proposed(start('abcdefgab'), 2)?.text).toBe('cd');
    expect(proposed(start('abcdefgab'), 0)).toBeUndefined();
  });
});

describe('temporal drafting', () => {
  const following = (...answers: string[]) => new TemporalDrafter(answers.map(ids));

  test('proposes the newest answer from its beginning, as sure as after a long match: the prompt agrees', () => {
    expect(proposed(following('a red cup', 'a blue book'), 20)).toEqual({ text: 'a red cup', matched: 16 });
  });

  test('follows it to its end, and then has nothing', () => {
    const drafter = following('abc');
    expect(proposed(accept(drafter, 'ab'))).toEqual({ text: 'c', matched: 16 });
    expect(proposed(accept(drafter, 'c'))).toBeUndefined();
    expect(proposed(accept(drafter, 'de'))).toBeUndefined();
  });

  test('takes a new token for a replaced one, and goes on behind it', () => {
    expect(proposed(accept(following('12:34:56 red'), '12:35'))).toEqual({ text: ':56 ', matched: 0 });
  });

  test('finds its place after something was left out', () => {
    const drafter = following('a red cup, a blue book, a lamp');
    expect(proposed(accept(drafter, 'a red cup, a la'), 9)).toEqual({ text: 'mp', matched: 6 });
  });

  test('finds its place after something came in', () => {
    const drafter = following('a red cup, a blue book');
    expect(proposed(accept(drafter, 'a red cup, a fat green apple, a blu'), 9)?.text).toBe('e book');
  });

  test('goes over to an older answer that agrees longer', () => {
    const drafter = following('the lamp is on. end', 'the lamp is off. fin');
    expect(proposed(accept(drafter, 'the lamp is of'), 9)).toEqual({ text: 'f. fin', matched: 14 });
  });

  test('prefers the nearer of two equal places', () => {
    // After `xy` instead of `b` comes `c`, which stands there twice.
    expect(proposed(accept(following('abcd-----ece'), 'axyc'))).toEqual({ text: 'd---', matched: 1 });
  });

  test('has no idea without answers', () => {
    expect(proposed(accept(following(), 'abab'))).toBeUndefined();
  });
});

describe('the memory of answers', () => {
  const prompt = (...tokens: number[]) => Int32Array.from(tokens);

  test('keeps the last four different ones of a prompt, newest first', () => {
    const memory = new AnswerMemory();
    for (const id of [1, 2, 3, 1, 4, 5]) memory.remember(prompt(7), [id]);
    expect(memory.recall(prompt(7))).toEqual([[5], [4], [1], [3]]);
    expect(memory.recall(prompt(8))).toEqual([]);
    expect(memory.recall(prompt(7, 0))).toEqual([]);
  });

  test('forgets the prompts that were asked longest ago, and the tails of endless answers', () => {
    const memory = new AnswerMemory();
    for (let id = 0; id < 40; id++) memory.remember(prompt(id), Array<number>(3000).fill(id));
    expect(memory.recall(prompt(7))).toEqual([]);
    expect(memory.recall(prompt(8))).toEqual([Array<number>(2048).fill(8)]);
    expect(memory.recall(prompt(39))).toHaveLength(1);
  });

  test('keeps no empty answer', () => {
    const memory = new AnswerMemory();
    memory.remember(prompt(7), []);
    expect(memory.recall(prompt(7))).toEqual([]);
  });

  test('looks at the tokens of a view, not at the buffer behind it', () => {
    const memory = new AnswerMemory();
    memory.remember(prompt(1, 2, 3, 4).subarray(1, 3), [9]);
    expect(memory.recall(prompt(2, 3))).toEqual([[9]]);
  });
});
