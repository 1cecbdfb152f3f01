import { describe, expect, test } from 'vitest';
import { type Attended, attentionMap } from '#sdk/grounding/attention/attention-map.js';
import { findRegions } from '#sdk/grounding/attention/find-regions.js';
import { heatMapPng } from '#sdk/grounding/attention/heat-map.js';
import { attentionFeatures, presenceProbability } from '#sdk/grounding/attention/presence.js';
import { decodeImage } from '#sdk/image/index.js';

const TILE = 56;
const SIDE = 4;
const TOKENS = SIDE * SIDE + 1;
const CUTS = { threshold: 0.15, leastPeak: 0.5 };

interface Canvas {
  readonly columns: number;
  readonly rows: number;
  readonly resizedWidth?: number;
  readonly resizedHeight?: number;
}

/** Attention by patch of the canvas `[y, x]`; what is left goes to the class tokens. */
function attended(canvas: Canvas, ...heads: (readonly (readonly [number, number, number])[])[]): Attended {
  const { columns, rows } = canvas;
  const tiles = columns * rows;
  const weights = new Float32Array(heads.length * tiles * TOKENS);
  for (const [h, patches] of heads.entries()) {
    let left = 1;
    for (const [x, y, weight] of patches) {
      const tile = Math.floor(y / SIDE) * columns + Math.floor(x / SIDE);
      weights[(h * tiles + tile) * TOKENS + 1 + (y % SIDE) * SIDE + (x % SIDE)] = weight;
      left -= weight;
    }
    for (let tile = 0; tile < tiles; tile++) weights[(h * tiles + tile) * TOKENS] = left / tiles;
  }
  const canvasWidth = columns * TILE;
  const canvasHeight = rows * TILE;
  const resizedWidth = canvas.resizedWidth ?? canvasWidth;
  const resizedHeight = canvas.resizedHeight ?? canvasHeight;
  const geometry = { resizedWidth, resizedHeight, canvasWidth, canvasHeight, tileSize: TILE };
  return { weights, heads: heads.length, geometry: { ...geometry, sourceWidth: 640, sourceHeight: 480 } };
}

const ARRANGEMENTS: readonly Canvas[] = [
  { columns: 1, rows: 1 },
  { columns: 2, rows: 1 },
  { columns: 1, rows: 2 },
  { columns: 2, rows: 2 },
  { columns: 4, rows: 1 },
  { columns: 1, rows: 3 },
];

test.each(ARRANGEMENTS)('puts every patch of $columns by $rows tiles in its place', (canvas) => {
  const columns = canvas.columns * SIDE;
  const rows = canvas.rows * SIDE;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const map = attentionMap(attended(canvas, [[x, y, 0.64]]));
      expect([map.columns, map.rows]).toEqual([columns, rows]);
      const lit = Array.from(map.values.entries()).filter(([, value]) => value > 0);
      expect(lit).toEqual([[y * columns + x, expect.closeTo(0.8, 6)]]);
      const [region, ...others] = findRegions(map, CUTS);
      expect(others).toEqual([]);
      expect(Math.floor(region!.peak.x * columns)).toBe(x);
      expect(Math.floor(region!.peak.y * rows)).toBe(y);
      expect(region!.box.x1).toBeLessThanOrEqual(x / columns);
      expect(region!.box.x2).toBeGreaterThanOrEqual((x + 1) / columns);
    }
  }
});

test('leaves the padding of a 16:9 frame on two by two tiles out, and measures by the frame', () => {
  const canvas = { columns: 2, rows: 2, resizedWidth: 112, resizedHeight: 63 };
  const inPadding = attended(canvas, [[2, 7, 0.9]]);
  const map = attentionMap(inPadding);
  expect([map.columns, map.rows]).toEqual([8, 5]); // 63 of 112 pixels: four patches and a half
  expect(Math.max(...map.values)).toBe(0);
  expect(findRegions(map, CUTS)).toEqual([]);
  const [last] = findRegions(attentionMap(attended(canvas, [[7, 4, 0.9]])), CUTS);
  expect(last!.box.x2).toBe(1);
  expect(last!.box.y2).toBe(1);
  expect(last!.peak.y).toBeGreaterThan(56 / 63);
});

test('refuses weights of other tiles', () => {
  const { geometry, weights } = attended({ columns: 1, rows: 1 }, [[0, 0, 1]]);
  expect(() => attentionMap({ weights, heads: 1, geometry: { ...geometry, canvasWidth: 112 } })).toThrow(RangeError);
});

test('no head drowns another', () => {
  const map = attentionMap(attended({ columns: 1, rows: 1 }, [[0, 0, 1]], [[3, 3, 0.25]]));
  expect([map.values[0], map.values[15]]).toEqual([1, 0.5]);
});

describe('findRegions', () => {
  const canvas = { columns: 2, rows: 2 };
  const left = [1, 1, 0.2] as const;
  const leftSide = [1, 2, 0.15] as const;

  test('finds several things of a name, the highest first', () => {
    const regions = findRegions(attentionMap(attended(canvas, [left, leftSide, [6, 6, 0.3]])), CUTS);
    expect(regions).toHaveLength(2);
    expect(regions[0]!.prominence).toBe(1);
    expect(regions[1]!.prominence).toBeLessThan(1);
    expect(regions[0]!.box.x1).toBeGreaterThan(0.5);
    expect(regions[1]!.box.x2).toBeLessThan(0.5);
  });

  test('takes a low peak elsewhere for no thing', () => {
    expect(findRegions(attentionMap(attended(canvas, [left, leftSide, [6, 6, 0.02]])), CUTS)).toHaveLength(1);
  });

  test('follows what hangs together over the border of tiles', () => {
    const [region, ...others] = findRegions(
      attentionMap(
        attended(canvas, [
          [3, 3, 0.2],
          [4, 3, 0.2],
          [3, 4, 0.2],
          [4, 4, 0.2],
        ]),
      ),
      CUTS,
    );
    expect(others).toEqual([]);
    expect(region!.box.x1 + region!.box.x2).toBeCloseTo(1, 6);
    expect(region!.box.y1 + region!.box.y2).toBeCloseTo(1, 6);
  });

  test('ends with sixteen', () => {
    const scattered = Array.from({ length: 64 }, (_, i) => [(i % 8) * 2, Math.floor(i / 8) * 2, 1 / 64] as const);
    const map = attentionMap(attended({ columns: 4, rows: 4 }, scattered));
    expect(findRegions(map, { threshold: 0.9, leastPeak: 0.5 })).toHaveLength(16);
  });
});

test('tells heads that find something from heads that look at class tokens', () => {
  const canvas = { columns: 2, rows: 1 };
  const found = attentionFeatures(attended(canvas, [[2, 1, 0.98]], [[2, 1, 0.98]]));
  const lost = attentionFeatures(attended(canvas, [[2, 1, 0.1]], [[6, 1, 0.1]]));
  for (const name of ['onPatches', 'concentration', 'peak', 'agreement'] as const) {
    expect(found[name]).toBeGreaterThan(lost[name]);
  }
  expect(found.agreement).toBeCloseTo(1, 5);
  expect(found.onPatches).toBeCloseTo(-Math.log(0.02 + 1e-5), 4);
  const model = { weights: { onPatches: 1, concentration: 0, peak: 0, agreement: 0 }, bias: -2, threshold: 0.5 };
  expect(presenceProbability(found, model)).toBeGreaterThan(0.5);
  expect(presenceProbability(lost, model)).toBeLessThan(0.5);
});

test('draws a heat map as large as the picture, brightest where the peak is', async () => {
  const canvas = { columns: 2, rows: 2, resizedWidth: 112, resizedHeight: 63 };
  const png = await heatMapPng(attentionMap(attended(canvas, [[6, 1, 0.9]])));
  const { width, height, data } = await decodeImage(png);
  expect([width, height]).toEqual([64, 36]);
  const brightness = Array.from(
    { length: width * height },
    (_, i) => data[i * 3]! + data[i * 3 + 1]! + data[i * 3 + 2]!,
  );
  const top = brightness.indexOf(Math.max(...brightness));
  expect([Math.floor((top % width) / 8), Math.floor(top / width / 8)]).toEqual([6, 1]);
});
