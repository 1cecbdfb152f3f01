import { describe, expect, test } from 'vitest';
import { createRandom } from '#sdk/core/random.js';
import { argmax, type SamplingOptions, sampleToken } from '#sdk/inference/sampling.js';

const logits = Float32Array.from([1, 3, 2, -1]);
const counts = (options: SamplingOptions, draws = 20_000, of = logits) => {
  const random = createRandom(7);
  const seen = new Array<number>(of.length).fill(0);
  for (let i = 0; i < draws; i++) seen[sampleToken(of, options, random)]!++;
  return seen.map((count) => count / draws);
};

test('greedy takes the likeliest token, the first on a tie, never NaN', () => {
  expect(argmax(logits)).toBe(1);
  expect(argmax(Float32Array.from([5, 5]))).toBe(0);
  expect(argmax(Float32Array.from([Number.NaN, 0, Number.NaN]))).toBe(1);
  expect(sampleToken(logits, { temperature: 0, topP: 1 }, () => 0.999)).toBe(1);
  expect(() => argmax(Float32Array.from([Number.NaN]))).toThrow(expect.objectContaining({ code: 'ERR_ENGINE_FAILED' }));
});

test('draws follow the softmax of logits / temperature', () => {
  for (const temperature of [0.6, 1, 2]) {
    const weights = [...logits].map((logit) => Math.exp(logit / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    counts({ temperature, topP: 1 }).forEach((share, token) => {
      expect(Math.abs(share - weights[token]! / total)).toBeLessThan(0.015);
    });
  }
});

describe('top-p keeps a token while the mass before it is at most p', () => {
  // Probabilities 0.5, 0.25, 0.125, 0.125, exact in binary.
  const halves = Float32Array.from([4, 2, 1, 1], Math.log);
  test.each([
    [0.4, [0]],
    [0.49, [0]],
    [0.6, [0, 1]],
    [0.8, [0, 1, 2]],
    [0.9, [0, 1, 2, 3]],
    [1, [0, 1, 2, 3]],
  ])('p = %f', (topP, kept) => {
    const shares = counts({ temperature: 1, topP }, 20_000, halves);
    expect(shares.flatMap((share, token) => (share > 0 ? [token] : []))).toEqual(kept);
    const exact = [0.5, 0.25, 0.125, 0.125];
    const mass = kept.reduce((sum, token) => sum + exact[token]!, 0);
    for (const token of kept) expect(Math.abs(shares[token]! - exact[token]! / mass)).toBeLessThan(0.015);
  });

  test('the likeliest always stays', () => {
    expect(counts({ temperature: 1, topP: 1e-9 }, 100)).toEqual([0, 1, 0, 0]);
  });
});

test('a seed repeats, another differs, and draws lie in [0, 1)', () => {
  const draw = (seed: number) => {
    const random = createRandom(seed);
    return Array.from({ length: 100 }, random);
  };
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
  expect(draw(3).every((value) => value >= 0 && value < 1)).toBe(true);
  // mulberry32, as the specification's check values: seed FNV-1a("abc").
  expect(draw(440920331)[0]).toBeCloseTo(0.516641999, 8);
  expect(draw(440920331)[2]).toBeCloseTo(0.00187966, 8);
});

test('the last kept token is drawn when rounding leaves a rest', () => {
  expect(sampleToken(Float32Array.from([0, 0]), { temperature: 1, topP: 1 }, () => 1)).toBe(1);
});

test('NaN logits and minus infinity are never drawn', () => {
  const odd = Float32Array.from([Number.NaN, 0, Number.NEGATIVE_INFINITY, 0]);
  const shares = counts({ temperature: 1, topP: 1 }, 1000, odd);
  expect(shares[0]).toBe(0);
  expect(shares[2]).toBe(0);
});

test('options out of range are refused', () => {
  for (const options of [
    { temperature: -1, topP: 1 },
    { temperature: Number.NaN, topP: 1 },
    { temperature: 1, topP: 0 },
    { temperature: 1, topP: 1.1 },
  ]) {
    expect(() => sampleToken(logits, options, Math.random)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }),
    );
  }
});

describe('top-k and min-p', () => {
  // Probabilities 0.4, 0.2, 0.2, 0.1, 0.1.
  const tenths = Float32Array.from([2, 4, 1, 2, 1], Math.log);
  const kept = (options: Omit<SamplingOptions, 'temperature'>) => {
    const shares = counts({ temperature: 1, ...options }, 5_000, tenths);
    return shares.flatMap((share, token) => (share > 0 ? [token] : []));
  };

  test.each([
    [{ topP: 1, topK: 1 }, [1]],
    [{ topP: 1, topK: 2 }, [0, 1, 3]], // as likely as the last
    [{ topP: 1, topK: 3 }, [0, 1, 3]],
    [{ topP: 1, topK: 4 }, [0, 1, 2, 3, 4]],
    [{ topP: 1, topK: 99 }, [0, 1, 2, 3, 4]],
    [{ topP: 1, minP: 0.499 }, [0, 1, 3]],
    [{ topP: 1, minP: 0.51 }, [1]],
    [{ topP: 1, minP: 1 }, [1]],
    // Of what top-k leaves (0.5, 0.25, 0.25) and not of all: 0.4 would let one more in.
    [{ topP: 0.45, topK: 3 }, [1]],
    [{ topP: 0.45 }, [0, 1]],
    [{ topP: 1, topK: 4, minP: 0.3 }, [0, 1, 3]],
  ])('%o', (options, expected) => {
    expect(kept(options)).toEqual(expected);
  });

  test('top-k of a whole vocabulary is what sorting gives', () => {
    const random = createRandom(3);
    const many = Float32Array.from({ length: 500 }, () => random());
    const sorted = [...many].sort((a, b) => b - a);
    for (const topK of [1, 2, 40, 499]) {
      const drawn = new Set(
        Array.from({ length: 4_000 }, () => sampleToken(many, { temperature: 5, topP: 1, topK }, random)),
      );
      for (const token of drawn) expect(many[token]).toBeGreaterThanOrEqual(sorted[topK - 1]!);
      expect(drawn.size).toBeGreaterThan(topK * 0.9);
    }
  });
});
