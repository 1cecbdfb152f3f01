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
});
