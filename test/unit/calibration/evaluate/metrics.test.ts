import { describe, expect, test } from 'vitest';
import { captionWords } from '#calibration/evaluate/metrics/caption-words.js';
import { bleu4, bleuStatistics, ciderD } from '#calibration/evaluate/metrics/captions.js';
import { anls, editDistance, popeSaysYes, relaxedCorrect } from '#calibration/evaluate/metrics/text-answers.js';
import { normalisedAccuracy, normaliseVqaAnswer, vqaAccuracy } from '#calibration/evaluate/metrics/vqa.js';

const times = (count: number, word: string): string[] => new Array<string>(count).fill(word);

// Expected values: what GT-Vision-Lab/VQA's vqaEval.py at a013f00 computes for the same answers.
describe('VQA accuracy', () => {
  test.each([
    ['yes', [...times(3, 'yes'), ...times(7, 'no')], 0.9],
    ['yes', [...times(2, 'yes'), ...times(8, 'no')], 0.6],
    ['yes', ['yes', ...times(9, 'no')], 0.3],
    ['yes', [...times(4, 'yes'), ...times(6, 'no')], 1],
    ['maybe', [...times(4, 'yes'), ...times(6, 'no')], 0],
    ['two', ['2', 'two', '2', ...times(4, '3'), 'three', '3', '3'], 0.9],
    ['the dog', ['dog', 'a dog', 'dogs', ...times(7, 'cat')], 0.6],
    ['none', ['0', 'zero', 'none', ...times(7, '1')], 0.9],
    ["it's red\tand blue\n", ['its red and blue', "it's red and blue", ...times(8, 'red')], 0.3],
    // All ten agree: nothing is normalised, as in the original.
    ['Yes.', times(10, 'yes'), 0],
    ['Yes.', [...times(9, 'yes'), 'Yes'], 1],
  ])('of %j against %j is %d', (said, answers, expected) => {
    expect(vqaAccuracy(said, answers)).toBeCloseTo(expected, 9);
  });

  test('with normalisation always, takes "Yes." for yes where all agree', () => {
    expect(normalisedAccuracy('Yes.', times(10, 'yes'))).toBe(1);
    expect(normalisedAccuracy('the two', times(10, '2'))).toBe(1);
    expect(normalisedAccuracy('no', times(10, 'yes'))).toBe(0);
  });

  test.each([
    ['The two, big dogs.', '2 big dogs'],
    ['10,000 people, maybe', '10000 people maybe'],
    ['red/blue', 'red blue'],
    ['red / blue', 'red blue'],
    ['T-shirt', 't shirt'],
    ['left-right - up', 'leftright up'],
    ['hello!world', 'hello world'],
    ['dont', "don't"],
    ['Im not', 'im not'],
    ["she'dve gone", "she'd've gone"],
    ["somebody'd", 'somebodyd'],
    ['couldntve', 'couldntve'],
    ["y'allll", "y'all'll"],
    ['twas', "'twas"],
    ['a 3.5 m pole.', '3.5 m pole'],
    ['3:30 p.m.', '3:30 pm'],
    ['none of the above', '0 of above'],
    ['a', ''],
    ['  ', ''],
  ])('normalises %j to %j', (answer, expected) => {
    expect(normaliseVqaAnswer(answer)).toBe(expected);
  });
});

// https://rrc.cvc.uab.es/?ch=17&com=tasks defines it; the distances are Levenshtein's.
describe('ANLS', () => {
  test.each([
    ['kitten', 'sitting', 3],
    ['', 'abc', 3],
    ['flaw', 'lawn', 2],
    ['same', 'same', 0],
    ['𝒳y', 'zy', 1],
  ])('%j and %j are %d edits apart', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
  });

  test.each([
    ['hello world', ['hello wrld'], 1 - 1 / 11],
    ['Hello  World', ['hello world'], 1],
    ['$12.50', ['12.50', '$12.50'], 1],
    ['abcd', ['abxy'], 0.5],
    ['abc', ['axy'], 0],
    ['', ['x'], 0],
    ['', [''], 1],
  ])('of %j against %j is %d', (said, answers, expected) => {
    expect(anls(said, answers)).toBeCloseTo(expected, 12);
  });
});

// Masry et al., arXiv 2203.10244, section 5.1; numbers as Python's float() reads them.
describe('relaxed correctness', () => {
  test.each([
    ['14', '14.7', true],
    ['105', '100', true],
    ['105.1', '100', false],
    ['95', '100', true],
    ['-95', '100', false],
    ['5%', '0.05', true],
    ['5', '5%', false],
    ['1,000', '1000', false],
    ['1_000', '1000', true],
    [' 12 ', '12', true],
    ['1e2', '100', true],
    ['0', '0', true],
    ['0.0', '0', false],
    ['Yes', 'yes', true],
    ['yes.', 'yes', false],
    ['twelve', '12', false],
    ['nan', 'nan', true],
    ['', '3', false],
  ])('%j for %j is %s', (said, target, expected) => {
    expect(relaxedCorrect(said, target)).toBe(expected);
  });
});

test.each([
  ['Yes.', true],
  ['No, there is no car.', false],
  ['There is not a car.', false],
  ['I see a car. No dog.', true],
  ['NO', true], // as the original has it
  ['Nothing', true],
  ['no', false],
])('POPE reads %j as yes: %s', (said, expected) => {
  expect(popeSaysYes(said)).toBe(expected);
});

// What pycocoevalcap 1.2 (salaniz/pycocoevalcap at ad63453) computes for the same words.
describe('captions', () => {
  const words = (text: string) => text.split(' ').filter(Boolean);
  const items = (
    [
      [
        'a red cup on a wooden table',
        ['a red cup sits on the wooden table', 'there is a red cup on a table', 'a cup that is red on a table of wood'],
      ],
      ['two dogs play in the snow', ['two dogs are playing in the snow', 'a pair of dogs run through snow']],
      [
        'a man riding a horse',
        [
          'a man rides a brown horse on the beach',
          'the man is riding a horse',
          'a person on a horse near the water',
          'man on horse',
        ],
      ],
      ['the the the the the the the', ['the cat is on the mat', 'there is a cat on the mat']],
      ['', ['an empty street at night']],
    ] as const
  ).map(([said, references]) => ({ said: words(said), references: references.map(words) }));
  const summed = (statistics: readonly number[][]) =>
    statistics[0]!.map((_, i) => statistics.reduce((sum, each) => sum + each[i]!, 0));

  test('have the CIDEr-D of the reference implementation', () => {
    const scores = ciderD(items);
    for (const [i, expected] of [
      3.881762118668149, 2.3283760178663084, 2.1462657948122117, 0.08016679181595333, 0,
    ].entries())
      expect(scores[i]).toBeCloseTo(expected, 12);
    expect(ciderD([{ said: ['a', 'b'], references: [['a', 'b']] }])).toEqual([0]);
  });

  test('have the BLEU-4 of the reference implementation', () => {
    expect(bleu4(summed(items.map(bleuStatistics)))).toBeCloseTo(0.26602621966646683, 12);
    expect(bleu4(bleuStatistics({ said: words('a b c d e'), references: [words('a b c d e')] }))).toBeCloseTo(1, 8);
  });

  test('clip matches as Papineni et al. do in their example', () => {
    const said = words('the the the the the the the');
    const references = [words('the cat is on the mat'), words('there is a cat on the mat')];
    expect(bleuStatistics({ said, references })).toEqual([2, 0, 0, 0, 7, 6, 5, 4, 7, 7]);
  });

  test('count the shorter of two references that are equally near', () => {
    const statistics = bleuStatistics({ said: words('a b c'), references: [words('a b c d'), words('a b')] });
    expect(statistics.at(-1)).toBe(2);
  });

  test.each([
    ["A man's dog can't sit on the T-shirt.", ['a', 'man', "'s", 'dog', 'ca', "n't", 'sit', 'on', 'the', 't-shirt']],
    ['Two "quoted" words (in brackets) -- and so on...', 'two quoted words in brackets and so on'.split(' ')],
    ["They're gonna go; he cannot.", ['they', "'re", 'gon', 'na', 'go', 'he', 'can', 'not']],
    ['It costs $1,000.50 at 3:30 p.m. on 5th Ave.', 'it costs $ 1,000.50 at 3:30 p.m. on 5th ave.'.split(' ')],
    ["the dogs' black-and-white toys!", 'the dogs black-and-white toys'.split(' ')],
    ['A cat.  A dog.\n', ['a', 'cat', 'a', 'dog']],
    ['', []],
  ])('have the words of the Penn Treebank: %j', (caption, expected) => {
    expect(captionWords(caption)).toEqual(expected);
  });
});
