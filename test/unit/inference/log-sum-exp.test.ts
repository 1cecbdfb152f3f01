import { describe, expect, test } from 'vitest';
import { createRandom } from '../../../sdk/core/random.js';
import { logSumExp } from '../../../sdk/inference/log-sum-exp.js';

/** With the library's exponential, and the largest term first. */
function reference(logits: Float32Array): number {
  const falling = [...logits].sort((a, b) => b - a);
  const largest = falling[0]!;
  return largest + Math.log(falling.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
}

describe('logSumExp', () => {
  test.each([0.01, 1, 10, 100])('is that of the library to 1e-11, logits of a spread of %f', (spread) => {
    const random = createRandom(7);
    for (const size of [1, 2, 600, 20_000]) {
      const logits = Float32Array.from({ length: size }, () => spread * (random() - 0.5) * 4);
      expect(Math.abs(logSumExp(logits) - reference(logits))).toBeLessThan(1e-11);
    }
  });

  test('is right at every distance from the largest, the steps of its table between them', () => {
    for (let distance = 0; distance < 90; distance += 0.00390625) {
      const logits = new Float32Array(1001).fill(-distance);
      logits[500] = 0;
      const relative = Math.log1p(1000 * Math.exp(-distance));
      expect(Math.abs(logSumExp(logits) - relative)).toBeLessThan(1e-11);
    }
  });

  test('of equal logits far from zero, and of some that are impossible', () => {
    expect(logSumExp(Float32Array.of(1e4, 1e4))).toBeCloseTo(1e4 + Math.LN2, 9);
    expect(logSumExp(Float32Array.of(-1e4, Number.NEGATIVE_INFINITY))).toBe(-1e4);
  });

  test.each([
    ['NaN', [0, Number.NaN]],
    ['infinity', [0, Number.POSITIVE_INFINITY]],
    ['nothing possible', [Number.NEGATIVE_INFINITY]],
    ['no logits', []],
  ])('%s is a failed engine', (_name, logits) => {
    expect(() => logSumExp(Float32Array.from(logits))).toThrow(expect.objectContaining({ code: 'ERR_ENGINE_FAILED' }));
  });
});
