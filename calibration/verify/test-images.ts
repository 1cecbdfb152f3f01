/** The pictures that golden cases were made from: a PNG, or an integer formula for those too large to keep. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import { decodeImage, type PixelImage } from '#sdk/image/index.js';
import type { GoldenImage } from './golden-folder.js';

type Formula = (
  x: number,
  y: number,
  image: { width: number; height: number; seed: number },
) => [number, number, number];

const FORMULAS: Readonly<Record<string, Formula>> = {
  noise: (x, y, { width, seed }) => {
    const at = (y * width + x) * 3;
    return [hash(at, seed), hash(at + 1, seed), hash(at + 2, seed)];
  },
  grad: (x, y, { width, height }) => [
    Math.floor((255 * x) / Math.max(width - 1, 1)),
    Math.floor((255 * y) / Math.max(height - 1, 1)),
    Math.floor((255 * (x + y)) / Math.max(width + height - 2, 1)),
  ],
  waves: (x, y, { seed }) => [
    triangle(3 * x + 2 * y + seed, 97),
    triangle(Math.floor((x * x + y * y) / 16) + 5 * seed, 128),
    triangle(Math.abs(2 * x - 3 * y) + 7 * seed, 61),
  ],
};

function hash(byte: number, seed: number): number {
  let u = (byte + Math.imul(seed, 0x9e3779b9)) >>> 0;
  u = Math.imul(u ^ (u >>> 16), 0x7feb352d);
  u = Math.imul(u ^ (u >>> 15), 0x846ca68b);
  return (u ^ (u >>> 16)) >>> 24;
}

function triangle(t: number, period: number): number {
  const m = t % period;
  return Math.floor((255 * (2 * m < period ? m : period - m)) / Math.floor(period / 2));
}

/**
 * @param directory Folder that `png` is relative to.
 * @returns undefined when there is neither a PNG nor a known formula.
 * @throws SdkError ERR_IMAGE_INVALID when the pixels are not those that the reference saw
 */
export async function loadGoldenImage(image: GoldenImage, directory: string): Promise<PixelImage | undefined> {
  const formula = FORMULAS[image.kind ?? ''];
  let pixels: PixelImage;
  if (image.png !== undefined && image.png !== null) pixels = await decodeImage(path.resolve(directory, image.png));
  else if (formula !== undefined) pixels = compute(image, formula);
  else return undefined;
  const sha256 = createHash('sha256').update(pixels.data).digest('hex');
  if (image.sha256_rgb !== undefined && image.sha256_rgb !== sha256) {
    const what = image.png ?? `${image.kind} ${image.width}x${image.height}`;
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `The pixels of ${what} are not those of the reference (SHA-256 ${sha256}).`,
    );
  }
  return pixels;
}

function compute({ width, height, seed }: GoldenImage, formula: Formula): PixelImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) data.set(formula(x, y, { width, height, seed }), at);
  }
  return { width, height, format: 'rgb8', data };
}
