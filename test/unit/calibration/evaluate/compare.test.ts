import { describe, expect, test } from 'vitest';
import { mcNemar } from '#calibration/evaluate/compare.js';
import { accuracyMeasure, meanMeasure, measureOver } from '#calibration/evaluate/measures.js';
import { TASKS } from '#calibration/evaluate/tasks.js';

const items = (count: number, expected: (i: number) => unknown) =>
  Array.from({ length: count }, (_, i) => ({ id: String(i), imageNames: ['a'], question: 'q', expected: expected(i) }));
const scoreOf = (task: keyof typeof TASKS, name: string, expected: unknown[], said: object[]) =>
  measureOver(
    TASKS[task]
      .measures(
        items(expected.length, (i) => expected[i]),
        said.map((each) => ({ text: '', ...each })),
      )
      .find((measure) => measure.name === name)!,
  );

describe('measures', () => {
  test('POPE: accuracy, precision, recall, F1 and share of yes, as its evaluate.py counts them', () => {
    // TP 2, FP 1, TN 2, FN 1
    const truth = [true, true, true, false, false, false];
    const said = ['Yes.', 'Yes, there is.', 'No.', 'Yes.', 'No.', 'There is not.'].map((text) => ({ text }));
    const value = (name: string) => scoreOf('pope', name, truth, said);
    expect(value('accuracy')).toBeCloseTo(4 / 6, 12);
    expect(value('precision')).toBeCloseTo(2 / 3, 12);
    expect(value('recall')).toBeCloseTo(2 / 3, 12);
    expect(value('f1')).toBeCloseTo(2 / 3, 12);
    expect(value('yesRatio')).toBeCloseTo(0.5, 12);
    expect(scoreOf('pope', 'precision', [true], [{ text: 'No.' }])).toBeNaN();
  });

  test('RefCOCO: an IoU of exactly 0.5 counts, no box is wrong, pointing by the peak', () => {
    const box = { x1: 0, y1: 0, x2: 1, y2: 0.5 };
    const said = [
      { boxes: [{ box: [0, 0, 1, 1], score: 1, point: [0.5, 0.5] }] },
      { boxes: [{ box: [0, 0, 1, 1], score: 1, point: [0.5, 0.6] }] },
      { boxes: [{ box: [0.5, 0, 1, 0.4], score: 1, point: [0.7, 0.2] }] },
      { boxes: [] },
    ];
    const truth = said.map(() => box);
    expect(scoreOf('refcoco', 'accuracy@0.5', truth, said)).toBe(0.5);
    expect(scoreOf('refcoco', 'pointing', truth, said)).toBe(0.5);
    expect(scoreOf('refcoco', 'answeredWithBox', truth, said)).toBe(0.75);
    expect(scoreOf('refcoco', 'meanIoU', truth, said)).toBeCloseTo((0.5 + 0.5 + 0.4) / 4, 12);
  });

  test('absent: rejections are counted among what is not there only', () => {
    const box = { box: [0, 0, 1, 1], score: 1, point: [0, 0] };
    const truth = [false, false, false, true];
    const said = [{ boxes: [] }, { boxes: [box] }, {}, { boxes: [box] }];
    expect(scoreOf('absent', 'rejected', truth, said)).toBeCloseTo(2 / 3, 12);
    expect(scoreOf('absent', 'found', truth, said)).toBe(1);
    expect(scoreOf('absent', 'accuracy', truth, said)).toBe(0.75);
    expect(scoreOf('absent', 'found', [false], [{ boxes: [] }])).toBeNaN();
  });

  test('choices: by the likeliest letter', () => {
    const truth = [
      { options: ['x', 'y'], right: 1 },
      { options: ['x', 'y'], right: 0 },
    ];
    const said = [
      { text: 'B', probabilities: [0.25, 0.75] },
      { text: 'B', probabilities: [0.5, 0.5] },
    ];
    expect(scoreOf('mmmu', 'accuracy', truth, said)).toBe(0.5);
    expect(scoreOf('mmmu', 'likelihoodOfRight', truth, said)).toBeCloseTo(0.625, 12);
  });

  test('charts: a full stop behind the answer does not count', () => {
    expect(scoreOf('chartqa', 'relaxedAccuracy', ['14', 'Yes'], [{ text: '14.' }, { text: 'yes.' }])).toBe(1);
  });

  test('count an item as often as it is drawn', () => {
    const measure = meanMeasure('m', [1, 0, null]);
    expect(measureOver(measure)).toBe(0.5);
    expect(measureOver(measure, [0, 0, 1, 2])).toBeCloseTo(2 / 3, 12);
    expect(measureOver(measure, [2])).toBeNaN();
  });
});

// Exact two-sided binomial: McNemar (1947); values by hand from the binomial coefficients.
describe('McNemar', () => {
  const pair = (onlyA: number, onlyB: number, both = 3) => {
    const a = [...new Array(onlyA).fill(true), ...new Array(onlyB).fill(false), ...new Array(both).fill(true)];
    const b = [...new Array(onlyA).fill(false), ...new Array(onlyB).fill(true), ...new Array(both).fill(true)];
    return mcNemar(accuracyMeasure('a', a), accuracyMeasure('b', b));
  };

  test.each([
    [0, 0, 1],
    [5, 5, 1],
    [1, 9, (2 * (1 + 10)) / 1024],
    [0, 6, 2 / 64],
    [2, 10, (2 * (1 + 12 + 66)) / 4096],
  ])('of %d and %d that only one has right', (onlyA, onlyB, p) => {
    const result = pair(onlyA, onlyB);
    expect(result).toMatchObject({ onlyA, onlyB });
    expect(result.p).toBeCloseTo(p, 12);
  });

  test('does not lose itself in many', () => {
    const { p } = pair(600, 700);
    expect(p).toBeGreaterThan(0.005);
    expect(p).toBeLessThan(0.0062);
  });
});
