/** From pixels to what a detector takes, and boxes back again. */
import type { PixelImage } from '../core/image.js';
import type { Box } from '../core/types.js';
import type { DetectorManifest } from './manifest.js';

type Input = DetectorManifest['input'];

/** Where a picture lies within the input, in pixels of the input. */
export interface Placement {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Where a picture of this size goes. */
export function placementOf(width: number, height: number, input: Input): Placement {
  if (input.resize === 'stretch') return { left: 0, top: 0, width: input.width, height: input.height };
  const scale = Math.min(input.width / width, input.height / height);
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  if (input.resize === 'letterbox-top-left') return { left: 0, top: 0, width: w, height: h };
  return { left: Math.floor((input.width - w) / 2), top: Math.floor((input.height - h) / 2), width: w, height: h };
}

/** float32 [3, height, width] of the input. */
export function toInput(image: PixelImage, input: Input, placement: Placement): Float32Array {
  const { width, height } = input;
  const { fill, scale, mean, std } = input;
  const resized = resize(image, placement.width, placement.height);
  const pixels = new Float32Array(3 * width * height);
  for (let c = 0; c < 3; c++) {
    const [from, normalise] = [image.format === `${input.channels}8` ? c : 2 - c, normaliser(scale, mean[c]!, std[c]!)];
    const plane = pixels.subarray(c * width * height, (c + 1) * width * height).fill(normalise(fill));
    for (let y = 0; y < placement.height; y++) {
      for (let x = 0; x < placement.width; x++)
        plane[(placement.top + y) * width + placement.left + x] = normalise(
          resized[(y * placement.width + x) * 3 + from]!,
        );
    }
  }
  return pixels;
}

function normaliser(scale: number, mean: number, std: number): (byte: number) => number {
  return (byte) => (byte * scale - mean) / std;
}

/** Fractions of the input become fractions of the picture; what lies beside the picture is outside 0–1 then. */
export function fromInput(box: Box, input: Input, { left, top, width, height }: Placement): Box {
  const x = (value: number) => (value * input.width - left) / width;
  const y = (value: number) => (value * input.height - top) / height;
  return { x1: x(box.x1), y1: y(box.y1), x2: x(box.x2), y2: y(box.y2) };
}

/** Bilinear, over as many pixels as a pixel of the result covers: as training pipelines do it. */
function resize({ data, width, height }: PixelImage, toWidth: number, toHeight: number): Float32Array {
  const across = weightsOf(width, toWidth);
  const narrow = new Float32Array(toWidth * height * 3);
  for (let y = 0; y < height; y++) {
    for (const [x, { start, shares }] of across.entries()) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < shares.length; k++) sum += shares[k]! * data[(y * width + start + k) * 3 + c]!;
        narrow[(y * toWidth + x) * 3 + c] = sum;
      }
    }
  }
  const row = toWidth * 3;
  const result = new Float32Array(row * toHeight);
  for (const [y, { start, shares }] of weightsOf(height, toHeight).entries()) {
    for (let i = 0; i < row; i++) {
      let sum = 0;
      for (let k = 0; k < shares.length; k++) sum += shares[k]! * narrow[(start + k) * row + i]!;
      result[y * row + i] = Math.round(sum);
    }
  }
  return result;
}

function weightsOf(from: number, to: number): { readonly start: number; readonly shares: readonly number[] }[] {
  const scale = from / to;
  const reach = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(from, Math.floor(centre + reach + 0.5));
    const raw = Array.from({ length: Math.max(1, end - start) }, (__, k) =>
      Math.max(0, 1 - Math.abs((start + k + 0.5 - centre) / reach)),
    );
    const sum = raw.reduce((total, value) => total + value, 0);
    return {
      start: Math.min(start, from - raw.length),
      shares: raw.map((value) => (sum > 0 ? value / sum : 1 / raw.length)),
    };
  });
}
