import { expect, test } from 'vitest';
import type { SearchRecord } from '#calibration/scores/collect.js';
import { reliabilityDiagram } from '#calibration/scores/diagram.js';
import { fitLogistic } from '#calibration/scores/logistic.js';
import { reliabilityOf } from '#calibration/scores/reliability.js';
import { fitScalings, reportOf } from '#calibration/scores/scalings.js';
import { createRandom } from '#sdk/core/random.js';
import { decodeImage } from '#sdk/image/index.js';

const claims = (score: number, right: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ score, isRight: i < right }));

test('the expected calibration error is the distance of each bin, by its claims', () => {
  // 0.1 off in 30 of 40, right in the others.
  const { expectedCalibrationError, bins, count } = reliabilityOf([...claims(0.9, 24, 30), ...claims(0.3, 3, 10)]);
  expect(count).toBe(40);
  expect(expectedCalibrationError).toBeCloseTo(0.075, 9);
  expect(bins[9]).toMatchObject({ count: 30, right: 0.8 });
  expect(bins[5]).toMatchObject({ count: 0, right: null, meanScore: null });
  expect(reliabilityOf(claims(1, 1, 1)).bins[9]!.count).toBe(1);
  expect(reliabilityOf([]).expectedCalibrationError).toBe(0);
});

test('logistic regression finds the weights that made the sample, and none below 0', () => {
  const random = createRandom(3);
  const rows = Array.from({ length: 6000 }, () => [4 * random() - 2, 4 * random() - 2]);
  const made = (weights: readonly number[], bias: number) =>
    rows.map((row) => random() < 1 / (1 + Math.exp(-(row[0]! * weights[0]! + row[1]! * weights[1]! + bias))));
  const { weights, bias } = fitLogistic(rows, made([1.5, 0.5], -0.7));
  expect(Math.abs(weights[0]! - 1.5)).toBeLessThan(0.15);
  expect(Math.abs(weights[1]! - 0.5)).toBeLessThan(0.15);
  expect(Math.abs(bias + 0.7)).toBeLessThan(0.15);
  expect(fitLogistic(rows, made([1, -1], 0)).weights[1]).toBe(0);
  // Without one mistake the answer is finite still.
  const sure = fitLogistic(
    rows,
    rows.map(([x]) => x! > 0),
  );
  expect(sure.weights.every(Number.isFinite)).toBe(true);
});

/** A model whose scores are far too low and whose yes is far too sure. */
function searches(scenes: number, seed: number, { yesShift = 0 } = {}): SearchRecord[][] {
  const random = createRandom(seed);
  const logistic = (value: number) => 1 / (1 + Math.exp(-value));
  const normal = (mean: number) => mean + Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Array.from({ length: scenes }, () =>
    Array.from({ length: 2 }, (): SearchRecord => {
      const sureness = normal(0.5);
      const isRight = random() < logistic(sureness);
      const isThere = isRight || random() < 0.2;
      const box = {
        source: 'text' as const,
        score: logistic(0.3 * sureness - 1),
        yes: logistic(4 * normal(isRight ? 1 : -1) + yesShift),
        isRight,
        overlap: isRight ? 0.75 : 0.25,
        pointsAt: isRight || random() < 0.5,
      };
      return { label: 'cup', isThere, yes: logistic(4 * normal(isThere ? 1 : -1)), boxes: [box] };
    }),
  );
}

test('scalings make scores probabilities on scenes that they were not made from', () => {
  const scalings = fitScalings(searches(1500, 1));
  const report = reportOf(searches(1500, 2), scalings);
  expect(Object.keys(report.reliability)).toEqual(['text', 'verified text', 'yes or no']);
  expect(report.reliability.text!.before.expectedCalibrationError).toBeGreaterThan(0.1);
  for (const { after } of Object.values(report.reliability))
    expect(after.expectedCalibrationError).toBeLessThanOrEqual(0.05);
  const { unverified, verified, atRecall95 } = report.searches;
  expect(unverified.absent + unverified.present).toBe(3000);
  expect(unverified.falseAlarms).toBe(1);
  expect(verified.falseAlarms).toBeLessThan(0.4);
  expect(Math.abs(atRecall95.recall / unverified.recall - 0.95)).toBeLessThan(0.01);
  expect(atRecall95.falseAlarms).toBeLessThan(unverified.falseAlarms);
});

test('what holds is decided by score and answer together: more of what is there, at as many false alarms', () => {
  // Cut-outs look less like what they show than whole pictures do.
  const shifted = { yesShift: -3 };
  const scalings = fitScalings(searches(1500, 1, shifted));
  const { threshold, ...rest } = scalings.verified.text!;
  expect(threshold).toBeGreaterThanOrEqual(0.5);
  const fresh = searches(1500, 2, shifted);
  const [before, after] = [{ ...scalings, verified: { text: rest } }, scalings].map(
    (each) => reportOf(fresh, each).searches.verified,
  );
  expect(after!.recall).toBeGreaterThan(before!.recall + 0.03);
  expect(after!.falseAlarms).toBeLessThan(before!.falseAlarms + 0.01);
});

test('no threshold where it would lose right boxes', () => {
  const scalings = fitScalings(searches(1500, 1, { yesShift: 6 }));
  const judged = (threshold: number | undefined) =>
    reportOf(searches(1500, 1, { yesShift: 6 }), {
      ...scalings,
      verified: { text: { ...scalings.verified.text!, threshold } },
    }).searches.verified;
  const { threshold } = scalings.verified.text!;
  expect(judged(threshold).recall).toBeGreaterThanOrEqual(judged(undefined).recall);
});

test('each source has a row of its own: where it points, and its false alarms', () => {
  const box = (source: 'text' | 'attention', score: number, yes: number, overlap: number) => {
    return { source, score, yes, overlap, isRight: overlap >= 0.5, pointsAt: overlap > 0 };
  };
  const there = (boxes: SearchRecord['boxes']): SearchRecord => ({ label: 'cup', isThere: true, yes: 0.9, boxes });
  const absent = (boxes: SearchRecord['boxes']): SearchRecord => ({ label: 'key', isThere: false, yes: 0.1, boxes });
  const scalings = { boxes: {}, verified: {}, yesNo: { temperature: 1, bias: 0 } };
  const { sources } = reportOf(
    [
      // The surest counts: the second box of attention would be better.
      [there([box('text', 0.9, 0.9, 0.8), box('attention', 0.9, 0.2, 0.4), box('attention', 0.5, 0.9, 0.8)])],
      [there([box('attention', 0.9, 0.9, 0.6)])],
      [absent([box('attention', 0.9, 0.1, 0)])],
      [absent([])],
    ],
    scalings,
  );
  expect(sources.detector).toBeUndefined();
  expect(sources.text!.unverified).toMatchObject({ pointing: 0.5, half: 0.5, meanOverlap: 0.4 });
  expect(sources.attention!.unverified).toMatchObject({ pointing: 1, half: 0.5, meanOverlap: 0.5 });
  expect(sources.attention!.unverified.searches).toMatchObject({ falseAlarms: 0.5, recall: 1, absent: 2, present: 2 });
  expect(sources.attention!.verified).toMatchObject({ half: 1, searches: { falseAlarms: 0, recall: 1 } });
  expect(sources.attention!.atRecall95).toMatchObject({ leastScore: 0.5, falseAlarms: 0.5 });
  expect(sources.attention!.verifiedAtRecall95.falseAlarms).toBe(0);
});

test('too few boxes leave their scores as they are', () => {
  expect(fitScalings(searches(10, 1)).boxes).toEqual({});
});

test('the diagram has bars as high as the share that is right', async () => {
  const pair = { before: reliabilityOf(claims(0.95, 5, 10)), after: reliabilityOf(claims(0.55, 5, 10)) };
  const { width, height, data } = await decodeImage(await reliabilityDiagram(pair));
  expect([width, height]).toEqual([552, 360]);
  const blue = (x: number, y: number) => data[(y * width + x) * 3]! === 70 && data[(y * width + x) * 3 + 2]! === 200;
  // The tenth bin at the left and the sixth at the right, half of 240 pixels high.
  const heights = [24 + 0.97 * 240, 240 + 48 + 0.57 * 240].map((x) => {
    let count = 0;
    for (let y = 0; y < height; y++) count += Number(blue(Math.round(x), y));
    return count;
  });
  for (const pixels of heights) expect(Math.abs(pixels - 120)).toBeLessThanOrEqual(4);
});
