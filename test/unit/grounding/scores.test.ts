import { describe, expect, test } from 'vitest';
import { logit, probabilityOf, scaleScore, verifyScore } from '#sdk/grounding/index.js';

describe('scores', () => {
  test('are what they were without a scaling, and with one that changes nothing', () => {
    for (const score of [0, 0.1, 0.5, 0.9, 1]) {
      expect(scaleScore(score, undefined)).toBe(score);
      expect(scaleScore(score, { temperature: 1, bias: 0 })).toBeCloseTo(score, 8);
    }
  });

  test('move towards a half with a temperature above 1, away from it below, and up with a bias', () => {
    expect(scaleScore(0.9, { temperature: 2, bias: 0 })).toBeCloseTo(0.75, 6); // odds 9 become odds 3
    expect(scaleScore(0.9, { temperature: 0.5, bias: 0 })).toBeCloseTo(81 / 82, 6);
    expect(scaleScore(0.5, { temperature: 1, bias: Math.log(4) })).toBeCloseTo(0.8, 6);
  });

  test('stay between 0 and 1, and in their order, at the ends too', () => {
    const scaled = [0, 1e-12, 0.2, 0.7, 1 - 1e-12, 1].map((score) => scaleScore(score, { temperature: 0.3, bias: 2 }));
    expect(scaled.every((score) => score >= 0 && score <= 1)).toBe(true);
    expect([...scaled].sort((a, b) => a - b)).toEqual(scaled);
    expect(Number.isFinite(logit(0)) && Number.isFinite(logit(1))).toBe(true);
    expect(probabilityOf(logit(0.3))).toBeCloseTo(0.3, 12);
  });

  test('take the verification into account: both halves count alike unless it was measured', () => {
    expect(verifyScore(0.8, 0.8).score).toBeCloseTo(0.8, 9);
    expect(verifyScore(0.9, 0.1).score).toBeCloseTo(0.5, 9);
    expect(verifyScore(0.9, 0.1, { score: 0, yes: 1, bias: 0 }).score).toBeCloseTo(0.1, 9);
  });

  test('hold by what the model says, or by both together from a threshold on', () => {
    expect([verifyScore(0.99, 0.4).verified, verifyScore(0.01, 0.5).verified]).toEqual([false, true]);
    const both = { score: 0.5, yes: 0.5, bias: 0 };
    const holds = (yes: number, threshold: number) => verifyScore(0.9, yes, { ...both, threshold }).verified;
    expect([holds(0.4, 0.7), holds(0.4, 0.72), holds(0.5, 0.76)]).toEqual([true, false, false]); // odds 6 are 0.71, 9 are 0.75
  });
});
