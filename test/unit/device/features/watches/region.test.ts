import { describe, expect, test } from 'vitest';
import { imageOf } from '#device/features/watches/region.js';
import { fakeFrame } from '../../../../support/device-fakes.js';

/** A frame whose pixels say where they are. */
function gradient() {
  const frame = fakeFrame(1);
  for (let i = 0; i < frame.width * frame.height; i++) {
    frame.data.set([i % frame.width, Math.floor(i / frame.width), 200], 3 * i);
  }
  return frame;
}

const pixel = (image: { readonly width: number; readonly data: Uint8Array }, x: number, y: number) => [
  ...image.data.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3),
];

describe('a region', () => {
  test('is the frame itself when there is none', () => {
    const frame = gradient();
    expect(imageOf(frame, undefined).image).toBe(frame);
  });

  test('is cut out around its corners, and nothing else is seen', () => {
    const frame = gradient(); // 64 × 48
    const { image } = imageOf(frame, [
      [0.25, 0],
      [1, 0],
      [0.25, 1],
    ]);
    expect([image.width, image.height]).toEqual([48, 48]);
    expect(pixel(image, 0, 0)).toEqual([16, 0, 200]);
    expect(pixel(image, 10, 20)).toEqual([26, 20, 200]);
    expect(pixel(image, 47, 47)).toEqual([0, 0, 0]); // beyond the slope
    expect(pixel(image, 40, 20)).toEqual([0, 0, 0]);
  });

  test('is never too small to show something, nor larger than the frame', () => {
    const { image } = imageOf(gradient(), [
      [0.99, 0.99],
      [1, 0.99],
      [1, 1],
    ]);
    expect([image.width, image.height]).toEqual([32, 32]);
    const whole = imageOf(gradient(), [
      [0, 0],
      [1, 0],
      [1, 1],
      [0, 1],
    ]).image;
    expect([whole.width, whole.height]).toEqual([64, 48]);
    expect(whole.data).toEqual(gradient().data);
  });

  test('gives boxes back in the frame', () => {
    const { toFrame } = imageOf(gradient(), [
      [0.5, 0],
      [1, 0],
      [1, 1],
      [0.5, 1],
    ]);
    const object = { label: 'cup', score: 1, source: 'text', boxPixels: [0, 0, 16, 48] } as const;
    expect(toFrame([{ ...object, box: { x1: 0, y1: 0, x2: 0.5, y2: 1 } }])).toEqual([
      { ...object, box: { x1: 0.5, y1: 0, x2: 0.75, y2: 1 }, boxPixels: [32, 0, 48, 48] },
    ]);
  });
});
