/** Test pictures as integer formulas; those of `golden/README.md` and of the specification's hash table. */
import type { PixelImage } from '#sdk/image/index.js';

export interface PictureFormula {
  readonly kind: string;
  readonly width: number;
  readonly height: number;
  readonly seed: number;
}

export function picture({ kind, width, height, seed }: PictureFormula): PixelImage {
  const data = new Uint8Array(width * height * 3);
  const pixel = formula(kind, width, height, seed);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) data.set(pixel(x, y), (y * width + x) * 3);
  }
  return { width, height, format: 'rgb8', data };
}

export function swapChannels(image: PixelImage): PixelImage {
  const data = Uint8Array.from(image.data);
  for (let i = 0; i < data.length; i += 3) {
    data[i] = image.data[i + 2]!;
    data[i + 2] = image.data[i]!;
  }
  return { ...image, format: image.format === 'rgb8' ? 'bgr8' : 'rgb8', data };
}

function formula(kind: string, width: number, height: number, seed: number): (x: number, y: number) => number[] {
  switch (kind) {
    case 'noise':
      return (x, y) => [0, 1, 2].map((c) => noise((y * width + x) * 3 + c, seed));
    case 'grad':
      return (x, y) => [
        Math.floor((255 * x) / Math.max(width - 1, 1)),
        Math.floor((255 * y) / Math.max(height - 1, 1)),
        Math.floor((255 * (x + y)) / Math.max(width + height - 2, 1)),
      ];
    case 'waves':
      return (x, y) => [
        triangle(3 * x + 2 * y + seed, 97),
        triangle(Math.floor((x * x + y * y) / 16) + 5 * seed, 128),
        triangle(Math.abs(2 * x - 3 * y) + 7 * seed, 61),
      ];
    case 'linear':
      return (x, y) => [(7 * x + 13 * y) % 256, (3 * x + 5 * y + 17) % 256, (11 * x + 2 * y + 101) % 256];
    default:
      throw new Error(`no formula for ${kind}`);
  }
}

function noise(k: number, seed: number): number {
  let u = (k + Math.imul(seed, 0x9e3779b9)) >>> 0;
  u ^= u >>> 16;
  u = Math.imul(u, 0x7feb352d) >>> 0;
  u ^= u >>> 15;
  u = Math.imul(u, 0x846ca68b) >>> 0;
  u ^= u >>> 16;
  return u >>> 24;
}

function triangle(t: number, period: number): number {
  const m = t % period;
  const folded = 2 * m < period ? m : period - m;
  return Math.floor((255 * folded) / Math.floor(period / 2));
}
