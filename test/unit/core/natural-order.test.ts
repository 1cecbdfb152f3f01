import { expect, test } from 'vitest';
import { naturalOrder } from '#sdk/core/natural-order.js';

test('puts runs of digits in order of their numbers, and is the same whichever way it is asked', () => {
  const names = [
    'a',
    'frame-1',
    'frame-2',
    'frame-02',
    'frame-10',
    'frame-10b',
    'frame-99999999999999999999',
    'x1y2',
    'x1y10',
  ];
  expect([...names].reverse().sort(naturalOrder)).toEqual([...names].sort(naturalOrder));
  const sorted = [...names].sort(naturalOrder);
  expect(sorted.indexOf('frame-10')).toBeGreaterThan(sorted.indexOf('frame-2'));
  expect(sorted.indexOf('x1y10')).toBeGreaterThan(sorted.indexOf('x1y2'));
  expect(sorted.at(-3)).toBe('frame-99999999999999999999');
});
