import { describe, expect, test } from 'vitest';
import { decodeImage, encodeJpeg } from '#sdk/image/index.js';

const size = { width: 32, height: 16 };
const filled = (a: number, b: number, c: number) =>
  Uint8Array.from({ length: size.width * size.height * 3 }, (_, index) => [a, b, c][index % 3]!);

describe('encodeJpeg', () => {
  test.each([
    ['rgb8', filled(200, 40, 10)],
    ['bgr8', filled(10, 40, 200)],
  ] as const)('writes %s pixels as the colours that they are', async (format, data) => {
    const jpeg = await encodeJpeg({ ...size, format, data }, { quality: 95 });
    const back = await decodeImage(jpeg);
    expect(back).toMatchObject(size);
    for (const [channel, value] of [200, 40, 10].entries())
      expect(Math.abs(back.data[3 * 100 + channel]! - value)).toBeLessThan(6);
  });

  test('is smaller at a lower quality, and refuses pixels that do not fit their size', async () => {
    const data = Uint8Array.from({ length: size.width * size.height * 3 }, (_, index) => (index * 7919) % 256);
    const large = await encodeJpeg({ ...size, format: 'rgb8', data }, { quality: 95 });
    const small = await encodeJpeg({ ...size, format: 'rgb8', data }, { quality: 30 });
    expect(small.length).toBeLessThan(large.length);
    await expect(encodeJpeg({ ...size, format: 'rgb8', data: data.subarray(1) })).rejects.toMatchObject({
      code: 'ERR_IMAGE_INVALID',
    });
  });

  test('pictures that are encoded at the same time, and one after the other, do not get into each other', async () => {
    const colours = [0, 60, 120, 180, 240].map((value) => filled(value, 255 - value, 90));
    const encode = (data: Uint8Array, format: 'rgb8' | 'bgr8') => encodeJpeg({ ...size, format, data });
    const expected = await Promise.all(colours.map((data) => encode(data, 'rgb8')));
    const swapped = (data: Uint8Array) => Uint8Array.from(data, (_, i) => data[i - (i % 3) + 2 - (i % 3)]!);
    for (let round = 0; round < 3; round++) {
      expect(await Promise.all(colours.map((data) => encode(swapped(data), 'bgr8')))).toEqual(expected);
      for (const [index, data] of colours.entries())
        expect(await encode(swapped(data), 'bgr8')).toEqual(expected[index]);
    }
  });

  // Widths that are and are not whole words, one pixel, and memory that begins at an odd address.
  test.each([
    [1, 1, 0],
    [3, 1, 0],
    [5, 3, 0],
    [64, 48, 0],
    [63, 47, 0],
    [63, 47, 1],
    [64, 48, 2],
    [64, 48, 4],
  ])('a picture of %i × %i, %i bytes into its memory, is the same file from both orders', async (width, height, at) => {
    const memory = Uint8Array.from({ length: width * height * 3 + at + 5 }, (_, index) => (index * 7919) % 251);
    const bgr = memory.subarray(at, at + width * height * 3);
    const rgb = new Uint8Array(bgr.length);
    for (let i = 0; i < bgr.length; i++) rgb[i] = bgr[i - (i % 3) + 2 - (i % 3)]!;
    const before = Uint8Array.from(memory);
    const options = { quality: 100, optimizeCoding: false };
    const ofBgr = await encodeJpeg({ width, height, format: 'bgr8', data: bgr }, options);
    const ofRgb = await encodeJpeg({ width, height, format: 'rgb8', data: rgb }, options);
    expect(ofBgr).toEqual(ofRgb);
    expect(memory).toEqual(before);
    // Tables for this picture change the size of the file and no pixel.
    const tight = await encodeJpeg({ width, height, format: 'bgr8', data: bgr }, { quality: 100 });
    expect(tight.length).toBeLessThanOrEqual(ofBgr.length);
    expect((await decodeImage(tight)).data).toEqual((await decodeImage(ofBgr)).data);
  });
});
