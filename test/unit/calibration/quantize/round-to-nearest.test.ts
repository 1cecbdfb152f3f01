import { describe, expect, test } from 'vitest';
import {
  bf16Bits,
  bf16Value,
  groupScales,
  quantizeRows,
  quantizeRowsTo8Bits,
  searchedScales,
} from '#calibration/quantize/round-to-nearest.js';
import { createRandom } from '#sdk/core/random.js';

/** Plain unpacking, written apart from the product's arithmetic. */
function dequantize(packed: Int32Array, scales: Uint16Array, groupSize: number): number[] {
  return Array.from({ length: packed.length * 8 }, (_, i) => {
    const q = ((packed[i >> 3]! >>> (4 * (i % 8))) & 15) - 8;
    return q * bf16Value(scales[Math.floor(i / groupSize)]!);
  });
}

describe('bf16Bits', () => {
  test.each([
    [1, 0x3f80],
    [-2, 0xc000],
    [1 + 2 ** -8, 0x3f80], // a tie goes to the even neighbour
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -8 + 2 ** -20, 0x3f81],
    [Number.POSITIVE_INFINITY, 0x7f80],
    [3.4e38, 0x7f80],
    [0, 0],
  ])('rounds %f to nearest, ties to even', (value, bits) => {
    expect(bf16Bits(value)).toBe(bits);
  });

  test('keeps NaN a NaN', () => {
    expect(bf16Value(bf16Bits(Number.NaN))).toBeNaN();
  });
});

describe('quantizeRows', () => {
  test('packs value + 8, lowest bits first, with the scale absmax / 7.5 in bfloat16', () => {
    const group = Float32Array.from({ length: 32 }, (_, i) => [7.5, -7.5, 0.4, -0.6, 3, -3, 1.5, 2.5][i % 8]!);
    const { packed, scales } = quantizeRows(group, 32)!;
    expect([...scales]).toEqual([0x3f80]);
    // 7.5 → 8 → clamped to 7; −7.5 → −8; 0.4 → 0; −0.6 → −1; 3; −3; 1.5 → 2 and 2.5 → 2 (ties to even)
    const nibbles = [7, -8, 0, -1, 3, -3, 2, 2].map((q) => q + 8);
    const word = nibbles.reduce((sum, nibble, j) => sum | (nibble << (4 * j)), 0);
    expect([...packed]).toEqual([word, word, word, word]);
  });

  test.each([32, 64, 128] as const)(
    'stays within half a step in groups of %i, one step at the positive end',
    (groupSize) => {
      let state = 1;
      const random = () => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
        return state / 2 ** 31;
      };
      const inputs = 256;
      const weights = Float32Array.from({ length: 3 * inputs }, (_, i) => random() * 10 ** ((i % 7) - 3));
      const { packed, scales, squaredError, squaredSum } = quantizeRows(weights, groupSize)!;
      expect(scales.length).toBe((3 * inputs) / groupSize);
      const restored = dequantize(packed, scales, groupSize);
      let error = 0;
      for (const [i, weight] of weights.entries()) {
        const scale = bf16Value(scales[Math.floor(i / groupSize)]!);
        const bound =
          weight > 7 * scale ? 0.51 * scale + scale * 0.04 : 0.5001 * scale + Math.max(0, -weight - 8 * scale);
        expect(Math.abs(restored[i]! - weight)).toBeLessThanOrEqual(bound);
        error += (restored[i]! - weight) ** 2;
      }
      expect(error).toBeCloseTo(squaredError, 6);
      expect(squaredSum).toBeGreaterThan(squaredError);
    },
  );

  test('packs four values + 128 a word at 8 bits, with the scale absmax / 127', () => {
    const group = Float32Array.from({ length: 32 }, (_, i) => [127, -127, 0.5, -1.5, 60.2, -60.7, 0, 1][i % 8]!);
    const { packed, scales } = quantizeRowsTo8Bits(group, 32)!;
    expect([...scales]).toEqual([0x3f80]);
    const bytes = new Uint8Array(packed.buffer, 0, 8);
    expect(Array.from(bytes, (byte) => byte - 128)).toEqual([127, -127, 0, -2, 60, -61, 0, 1]);
    expect(packed.length).toBe(8);
    expect(quantizeRowsTo8Bits(new Float32Array(32).fill(Number.NaN), 32)).toBeNull();
  });

  test('gives a group of zeros a finite scale and zeros', () => {
    const { packed, scales } = quantizeRows(new Float32Array(64), 32)!;
    expect([...packed].every((word) => word === 0x88888888 - 2 ** 32)).toBe(true);
    for (const bits of scales) expect(Number.isFinite(bf16Value(bits))).toBe(true);
  });

  test('tells of weights that are not finite', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const weights = new Float32Array(32);
      weights[17] = bad;
      expect(quantizeRows(weights, 32)).toBeNull();
    }
  });
});

describe('searchedScales', () => {
  const errorOf = (weights: Float32Array, scales: Uint16Array | null) => {
    const { squaredError, squaredSum } = quantizeRows(weights, weights.length, scales)!;
    return Math.sqrt(squaredError / squaredSum);
  };

  test('finds the steps of the source where its levels lie around zero', () => {
    const step = 2 ** -6;
    const weights = Float32Array.from({ length: 32 }, (_, i) => ((i % 12) - 4) * step); // −4 … 7 steps
    expect(errorOf(weights, searchedScales(weights, 32, Float32Array.of(step)))).toBe(0);
    expect(errorOf(weights, groupScales(weights, 32))).toBeGreaterThan(0.01);
  });

  test('loses less than half of what fresh scales lose on asymmetric int4, and never more', () => {
    const random = createRandom(11);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const sums = { plain: 0, searched: 0 };
    for (let round = 0; round < 100; round++) {
      const original = Array.from({ length: 128 }, normal);
      const [low, high] = [Math.min(...original), Math.max(...original)];
      const step = Math.fround((high - low) / 15);
      const zero = Math.round(-low / step);
      const weights = Float32Array.from(
        original,
        (w) => (Math.min(15, Math.max(0, Math.round(w / step) + zero)) - zero) * step,
      );
      const before = errorOf(weights, groupScales(weights, 128));
      const after = errorOf(weights, searchedScales(weights, 128, Float32Array.of(step)));
      expect(after).toBeLessThanOrEqual(before);
      sums.plain += before;
      sums.searched += after;
    }
    expect(sums.searched).toBeLessThan(sums.plain / 2);
  });

  test('is nothing for weights that are no numbers', () => {
    expect(searchedScales(new Float32Array(32).fill(Number.NaN), 32, Float32Array.of(1))).toBeNull();
  });
});
