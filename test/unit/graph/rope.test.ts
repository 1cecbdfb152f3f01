import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { inverseFrequencies, ropeTables } from '#sdk/graph/index.js';
import { GOLDEN } from '../checkpoint/checkpoint-folder.js';

const golden = JSON.parse(readFileSync(path.join(GOLDEN, 'rope.json'), 'utf8'));
const published = {
  headDim: 128,
  ropeTheta: 500000,
  ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 },
};

describe.each(Object.keys(golden))('%s', (name) => {
  const {
    head_dim: headDim,
    rope_theta: ropeTheta,
    rope_scaling: s,
    inv_freq,
    inv_freq_without_scaling,
  } = golden[name];
  const ropeScaling = {
    factor: s.factor,
    lowFreqFactor: s.low_freq_factor,
    highFreqFactor: s.high_freq_factor,
    originalMaxPositionEmbeddings: s.original_max_position_embeddings,
  };
  test.each([
    ['scaled', ropeScaling, inv_freq],
    ['not scaled', null, inv_freq_without_scaling],
  ])('%s', (_, scaling, expected: number[]) => {
    const actual = inverseFrequencies({ headDim, ropeTheta, ropeScaling: scaling });
    expect(actual).toHaveLength(expected.length);
    actual.forEach((value, i) => {
      expect(Math.abs(value / expected[i]! - 1)).toBeLessThan(5e-7);
    });
  });
});

describe('positions up to 131 071', () => {
  const { inv_freq: reference } = golden['llama-3.2-11b-vision (published parameters)'] as { inv_freq: number[] };
  const LAST = 131_071;
  const { cos, sin } = ropeTables(published, LAST + 1);
  /** As the reference does: product in float32, then cosine and sine. */
  const angleOf = (position: number, i: number) => Math.fround(position * Math.fround(reference[i]!));

  test.each([8_191, 8_192, 32_768, 65_537, 100_003, LAST])(
    'at %i the tables are those of the golden frequencies',
    (position) => {
      for (const i of reference.keys()) {
        const at = position * reference.length + i;
        // The reference blends frequencies in float32, which moves their last two bits, and the angle's with them.
        const tolerance = 4 * 2 ** -23 * angleOf(position, i) + 1e-6;
        expect(Math.abs(cos[at]! - Math.cos(angleOf(position, i))), `pair ${i}`).toBeLessThan(tolerance);
        expect(Math.abs(sin[at]! - Math.sin(angleOf(position, i))), `pair ${i}`).toBeLessThan(tolerance);
      }
    },
  );

  test('without the scaling they would be others', () => {
    const unscaled = inverseFrequencies({ ...published, ropeScaling: null });
    const differing = [...reference.keys()].filter(
      (i) => Math.abs(Math.cos(LAST * unscaled[i]!) - cos[LAST * reference.length + i]!) > 0.05,
    );
    expect(differing.length).toBeGreaterThan(20);
  });
});

test('check values of the specification', () => {
  const f = inverseFrequencies(published);
  const expected = {
    1: 0.814617234,
    28: 3.211445995e-3,
    29: 2.166570763e-3,
    32: 5.24846161e-4,
    34: 1.785078128e-4,
    35: 9.556212354e-5,
    63: 3.068925989e-7,
  };
  for (const [i, value] of Object.entries(expected)) expect(Math.abs(f[Number(i)]! / value - 1)).toBeLessThan(2e-7);
});

test('tables hold cosine and sine of position × frequency', () => {
  const { cos, sin } = ropeTables(published, 40);
  const f = inverseFrequencies(published);
  expect(cos).toHaveLength(40 * 64);
  for (const [position, i] of [
    [0, 0],
    [1, 0],
    [39, 0],
    [39, 63],
    [17, 30],
  ] as const) {
    expect(cos[position * 64 + i]).toBeCloseTo(Math.cos(position * f[i]!), 5);
    expect(sin[position * 64 + i]).toBeCloseTo(Math.sin(position * f[i]!), 5);
  }
});
