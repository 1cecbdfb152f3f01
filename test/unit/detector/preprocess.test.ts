import { expect, test } from 'vitest';
import { detectorSchema } from '#sdk/detector/manifest.js';
import { fromInput, placementOf, toInput } from '#sdk/detector/preprocess.js';

function input(more: object) {
  return detectorSchema.parse({
    labels: ['cup'],
    input: { tensor: 'x', width: 16, height: 16, ...more },
    output: { layout: 'yolo', tensor: 'y', order: 'rows', unit: 'pixels' },
    selfTest: { picture: 'a.png', objects: [{ label: 'cup', box: [0, 0, 1, 1] }] },
  }).input;
}
const plain = (format: 'rgb8' | 'bgr8', width: number, height: number, colour: readonly number[]) => ({
  ...{ width, height, format },
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => colour[i % 3]!),
});

test.each([
  ['stretch', { left: 0, top: 0, width: 16, height: 16 }],
  ['letterbox', { left: 0, top: 4, width: 16, height: 8 }],
  ['letterbox-top-left', { left: 0, top: 0, width: 16, height: 8 }],
])('%s puts a picture twice as wide as high there, and boxes come back', (resize, expected) => {
  const own = input({ resize });
  const placement = placementOf(64, 32, own);
  expect(placement).toEqual(expected);
  const box = fromInput(
    {
      x1: placement.left / 16,
      y1: placement.top / 16,
      x2: (placement.left + placement.width / 2) / 16,
      y2: (placement.top + placement.height) / 16,
    },
    own,
    placement,
  );
  expect(box).toEqual({ x1: 0, y1: 0, x2: 0.5, y2: 1 });
});

test('normalises each channel in the order that the detector wants, and fills beside the picture', () => {
  const values = (format: 'rgb8' | 'bgr8', channels: string) => {
    const own = input({
      channels,
      resize: 'letterbox-top-left',
      fill: 50,
      scale: 0.1,
      mean: [1, 2, 3],
      std: [1, 2, 4],
    });
    const placement = placementOf(64, 32, own);
    const pixels = toInput(plain(format, 64, 32, [10, 20, 30]), own, placement);
    const at = (c: number, x: number, y: number) => pixels[c * 256 + y * 16 + x]!;
    return [at(0, 3, 3), at(1, 3, 3), at(2, 3, 3), at(0, 3, 12), at(2, 15, 15)];
  };
  expect(values('rgb8', 'rgb')).toEqual([0, 0, 0, 4, 0.5]);
  expect(values('bgr8', 'rgb')).toEqual([2, 0, -0.5, 4, 0.5]);
  expect(values('rgb8', 'bgr')).toEqual([2, 0, -0.5, 4, 0.5]);
  expect(values('bgr8', 'bgr')).toEqual([0, 0, 0, 4, 0.5]);
});

test('a pixel of a smaller picture is of all that it covers, one of a larger lies between its neighbours', () => {
  const stripes = { ...plain('rgb8', 64, 16, [0, 0, 0]) };
  stripes.data = stripes.data.map((_, i) => (Math.floor(i / 3) % 2 === 0 ? 0 : 200));
  const own = input({ resize: 'stretch', scale: 1 });
  const pixels = toInput(stripes, own, placementOf(64, 16, own));
  for (let x = 1; x < 15; x++) expect(Math.abs(pixels[x]! - 100)).toBeLessThanOrEqual(1);

  const two = { width: 2, height: 1, format: 'rgb8' as const, data: Uint8Array.from([0, 0, 0, 160, 160, 160]) };
  const row = [...toInput(two, own, placementOf(2, 1, own)).subarray(0, 16)];
  expect(row).toEqual([...row].sort((a, b) => a - b));
  expect([row[0], row[7], row[8], row[15]]).toEqual([0, 70, 90, 160]);
});
