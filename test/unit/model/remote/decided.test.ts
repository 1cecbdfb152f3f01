import { expect, test } from 'vitest';
import { probabilitiesOf } from '#sdk/model/remote/decided.js';
import type { AnswerToken } from '#sdk/model/types.js';

/** What was written first, then the other likeliest in its place. */
function place(...likeliest: [text: string, probability: number][]): AnswerToken {
  const tokens = likeliest.map(([text, probability]) => {
    return { text, bytes: new TextEncoder().encode(text), logProbability: Math.log(probability) };
  });
  return { ...tokens[0]!, likeliest: tokens };
}
const options = (...words: string[]) => words.map((word) => ({ spellings: [word, word.toUpperCase()] }));
const close = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 9));

test('all spellings of an option count, with a space before them, in part or whole', () => {
  const tokens = [place(['yes', 0.5], [' yes', 0.1], ['YES', 0.1], ['n', 0.2], ['maybe', 0.1])];
  expect(probabilitiesOf(options('yes', 'no'), tokens)).toEqual(close([0.7, 0.2]));
});

test('a beginning that options share is followed to where they part', () => {
  const tokens = [place(['cup', 0.8], ['box', 0.2]), place(['board', 0.75], ['\n', 0.25])];
  expect(probabilitiesOf(options('cupboard', 'cup', 'box'), tokens)).toEqual(close([0.6, 0.2, 0.2]));
});

test('an option that ends where another goes on is what it is', () => {
  const tokens = [place(['cup', 0.9], ['b', 0.1])];
  expect(probabilitiesOf(options('cupboard', 'cup', 'box'), tokens)).toEqual(close([0, 0.9, 0.1]));
});

test('another beginning that options share counts for them in equal parts', () => {
  const tokens = [place(['b', 0.6], ['c', 0.4])];
  expect(probabilitiesOf(options('cupboard', 'cup', 'box'), tokens)).toEqual(close([0.2, 0.2, 0.6]));
});

test('a word that only begins like an option is none', () => {
  const tokens = [place(['nothing', 0.5], ['no,', 0.3], ['yes', 0.2])];
  expect(probabilitiesOf(options('yes', 'no'), tokens)).toEqual(close([0.2, 0.3]));
});

test('nothing is decided by what fits no option', () => {
  expect(probabilitiesOf(options('yes', 'no'), [place(['perhaps', 1])])).toEqual([0, 0]);
  expect(probabilitiesOf(options('yes', 'no'), [])).toEqual([0, 0]);
});
