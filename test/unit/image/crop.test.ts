import { describe, expect, test } from 'vitest';
import { cropToBox, decodeImage, encodePng, type PixelImage } from '#sdk/image/index.js';

/** Every pixel says where it is. */
function picture(width: number, height: number): PixelImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) data.set([i % width, Math.floor(i / width), 7], i * 3);
  return { width, height, format: 'rgb8', data };
}

/** Left, top, width, height of a cut, read off its corner. */
const placeOf = ({ data, width, height }: PixelImage) => [data[0], data[1], width, height];
const box = (x1: number, y1: number, x2: number, y2: number) => ({ x1, y1, x2, y2 });

describe('cropToBox', () => {
  test.each([
    ['the box alone', box(0.25, 0.5, 0.75, 0.9), 0, [50, 50, 100, 40]],
    ['a margin by the longer side', box(0.25, 0.4, 0.5, 0.8), 0.2, [40, 30, 70, 60]],
    ['at an edge what there is, moved into the picture', box(0, 0, 0.25, 0.5), 0.5, [0, 0, 100, 100]],
    ['more than the picture: all of it', box(0, 0, 1, 1), 1, [0, 0, 200, 100]],
    ['so small a box is shown with its surroundings', box(0.5, 0.5, 0.51, 0.51), 0, [85, 35, 32, 32]],
    ['in the corner too', box(0.99, 0.99, 1, 1), 0, [168, 68, 32, 32]],
  ])('cuts %s', (_name, from, margin, expected) => {
    const cut = cropToBox(picture(200, 100), from, margin);
    expect(placeOf(cut)).toEqual(expected);
    expect([cut.data.at(-3), cut.data.at(-2)]).toEqual([
      expected[0]! + expected[2]! - 1,
      expected[1]! + expected[3]! - 1,
    ]);
  });

  test('takes all of a picture that is smaller than the least cut', () => {
    expect(placeOf(cropToBox(picture(20, 10), box(0.4, 0.4, 0.6, 0.6), 0))).toEqual([0, 0, 20, 10]);
  });

  test('refuses pixels that are none', () => {
    const image = { ...picture(10, 10), data: new Uint8Array(7) };
    expect(() => cropToBox(image, box(0, 0, 1, 1), 0)).toThrowError(
      expect.objectContaining({ code: 'ERR_IMAGE_INVALID' }),
    );
  });
});

test('a PNG holds every pixel as it was', async () => {
  const image = { ...picture(40, 30), format: 'rgb8' } as const;
  const decoded = await decodeImage(await encodePng(image));
  expect([decoded.width, decoded.height, decoded.format]).toEqual([40, 30, 'rgb8']);
  expect(Buffer.from(decoded.data).equals(Buffer.from(image.data))).toBe(true);
});
