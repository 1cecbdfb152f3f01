import { describe, expect, test } from 'vitest';
import { boxArea, boxToPixels, clampBox, intersectionOverUnion } from '#sdk/geometry/box.js';

const box = (x1: number, y1: number, x2: number, y2: number) => ({ x1, y1, x2, y2 });

describe('intersectionOverUnion', () => {
  test.each([
    [box(0, 0, 1, 1), box(0, 0, 1, 1), 1],
    [box(0, 0, 1, 1), box(0, 0, 0.5, 1), 0.5],
    [box(0, 0, 0.5, 0.5), box(0.25, 0.25, 0.75, 0.75), 1 / 7],
    [box(0, 0, 0.5, 1), box(0.5, 0, 1, 1), 0], // touching
    [box(0, 0, 0.1, 0.1), box(0.5, 0.5, 1, 1), 0],
    [box(0.5, 0.5, 0.5, 0.5), box(0.5, 0.5, 0.5, 0.5), 0], // empty
  ])('%o and %o: %f', (a, b, expected) => {
    expect(intersectionOverUnion(a, b)).toBeCloseTo(expected, 12);
    expect(intersectionOverUnion(b, a)).toBeCloseTo(expected, 12);
  });
});

describe('clampBox', () => {
  test('cuts to the frame', () => {
    expect(clampBox(box(-0.2, 0.1, 1.5, 0.9))).toEqual(box(0, 0.1, 1, 0.9));
  });

  test.each([box(1.1, 0, 1.5, 1), box(0.6, 0, 0.4, 1), box(0.5, 0.5, 0.5, 0.9), box(Number.NaN, 0, 1, 1)])(
    'gives nothing for %o',
    (outside) => {
      expect(clampBox(outside)).toBeUndefined();
    },
  );
});

test('boxArea of a box inside out is 0', () => {
  expect(boxArea(box(0.9, 0.9, 0.1, 0.1))).toBe(0);
});

describe('boxToPixels', () => {
  test('rounds to pixels of the frame', () => {
    expect(boxToPixels(box(0.101, 0.25, 0.499, 1), 640, 480)).toEqual([65, 120, 319, 480]);
  });

  test('keeps at least one pixel, inside the frame', () => {
    expect(boxToPixels(box(0.9999, 0.5, 1, 0.5001), 100, 100)).toEqual([99, 50, 100, 51]);
  });
});
