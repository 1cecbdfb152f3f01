import { describe, expect, test } from 'vitest';
import {
  crossAttentionSpans,
  keysPerImage,
  type PlanRequest,
  planCrossAttention,
} from '#sdk/engine/shared/cross-attention.js';

const LOWEST = Math.fround(-3.4028234663852886e38);
const END = Number.POSITIVE_INFINITY;

describe('spans', () => {
  test.each([
    ['no image', [], []],
    ['one image', [4], [[4, END]]],
    [
      'two apart: each to the next',
      [2, 6],
      [
        [2, 6],
        [6, END],
      ],
    ],
    [
      'two side by side: both to the end',
      [2, 3],
      [
        [2, END],
        [3, END],
      ],
    ],
    [
      'three side by side, then one',
      [1, 2, 3, 9],
      [
        [1, 9],
        [2, 9],
        [3, 9],
        [9, END],
      ],
    ],
    [
      'one, then two side by side',
      [0, 5, 6],
      [
        [0, 5],
        [5, END],
        [6, END],
      ],
    ],
  ] as [string, number[], number[][]][])('%s', (_, indices, expected) => {
    expect(crossAttentionSpans(indices).map(({ start, end }) => [start, end])).toEqual(expected);
  });
});

describe('plan', () => {
  const constants = { tokensPerTile: 2, maxNumTiles: 3 };
  const plan = (request: Partial<PlanRequest>) =>
    planCrossAttention({ ...constants, numerics: 'meta', images: [], firstToken: 0, tokens: 1, ...request });
  const rowsOf = ({ bias, keys }: { bias: Float32Array; keys: number }) =>
    Array.from({ length: bias.length / keys }, (_, r) =>
      Array.from(bias.subarray(r * keys, (r + 1) * keys), (value) => (value === LOWEST ? '-' : String(value))).join(''),
    );

  test('under meta, rows before the image are dropped from both halves and only used tiles are kept', () => {
    const result = plan({ images: [{ tokenIndex: 1, numTiles: 2 }], tokens: 3 });
    expect(result.images).toEqual([0]);
    expect(rowsOf(result)).toEqual(['0000', '0000', '0000']);
    expect([...result.attentionTokens]).toEqual([0, 1, 1]);
    expect([...result.mlpTokens]).toEqual([0, 1, 1]);
    expect(keysPerImage({ ...constants, numerics: 'meta' }, 2)).toBe(4);
  });

  test.each(['hf-4.45', 'hf-5'] as const)(
    'under %s such rows attend to every slot, others only to used tiles',
    (numerics) => {
      const result = plan({ numerics, images: [{ tokenIndex: 1, numTiles: 2 }], tokens: 2 });
      expect(rowsOf(result)).toEqual(['000000', '0000--']);
      expect([...result.attentionTokens]).toEqual([1, 1]);
      expect([...result.mlpTokens]).toEqual([0, 1]);
      expect(keysPerImage({ ...constants, numerics }, 2)).toBe(6);
    },
  );

  test('each row sees its own image', () => {
    const images = [
      { tokenIndex: 0, numTiles: 1 },
      { tokenIndex: 2, numTiles: 2 },
    ];
    expect(rowsOf(plan({ images, tokens: 4 }))).toEqual(['00----', '00----', '--0000', '--0000']);
  });

  test('images that no row of the call sees are left out', () => {
    const images = [
      { tokenIndex: 0, numTiles: 1 },
      { tokenIndex: 2, numTiles: 2 },
      { tokenIndex: 90, numTiles: 3 },
    ];
    const later = plan({ images, firstToken: 5, tokens: 2 });
    expect(later.images).toEqual([1]);
    expect(rowsOf(later)).toEqual(['0000', '0000']);
    // A blind row of the other numerics looks at all of them, those to come too.
    const blind = plan({ images: images.map((i) => ({ ...i, tokenIndex: i.tokenIndex + 1 })), numerics: 'hf-4.45' });
    expect(blind.images).toEqual([0, 1, 2]);
    expect(rowsOf(blind)).toEqual(['0'.repeat(18)]);
  });

  test('the first of two images side by side is seen alone by its own row only', () => {
    const images = [
      { tokenIndex: 1, numTiles: 1 },
      { tokenIndex: 2, numTiles: 1 },
    ];
    expect(rowsOf(plan({ images, firstToken: 1, tokens: 3 }))).toEqual(['00--', '0000', '0000']);
  });

  test.each(['meta', 'hf-4.45', 'hf-5'] as const)('without images nothing is added (%s)', (numerics) => {
    const result = plan({ numerics, tokens: 2 });
    expect(result.keys).toBe(0);
    expect([...result.attentionTokens, ...result.mlpTokens]).toEqual([0, 0, 0, 0]);
  });
});
