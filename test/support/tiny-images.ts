import { createRandom } from '#sdk/core/random.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';

/** Pixels without meaning for a model with tiles of `tileSize`: the same for the same seed. Unused slots hold 0. */
export function syntheticImage(
  arrangement: { readonly aspectRatioId: number; readonly numTiles: number },
  seed: number,
  tileSize = 56,
  maxTiles = 4,
): ProcessedImage {
  const random = createRandom(seed);
  const tile = 3 * tileSize * tileSize;
  const pixelValues = new Float32Array(maxTiles * tile);
  for (let i = 0; i < arrangement.numTiles * tile; i++) pixelValues[i] = 4 * random() - 2;
  const geometry = {
    sourceWidth: tileSize,
    sourceHeight: tileSize,
    resizedWidth: tileSize,
    resizedHeight: tileSize,
    canvasWidth: tileSize,
    canvasHeight: tileSize,
    tileSize,
  };
  return { ...arrangement, pixelValues, geometry };
}

/** Used arrangements by name: id (1×1, 1×2, 1×3, 1×4, 2×1, 2×2, 3×1, 4×1 rows × columns of tiles, from 1) and number of tiles. */
export const ARRANGEMENTS = {
  single: { aspectRatioId: 1, numTiles: 1 },
  wide: { aspectRatioId: 2, numTiles: 2 },
  tall: { aspectRatioId: 7, numTiles: 3 },
  square: { aspectRatioId: 6, numTiles: 4 },
} as const;

export function maxDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new RangeError(`expected arrays of one length, got ${a.length} and ${b.length}`);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= largest)) largest = difference; // NaN must not pass
  }
  return largest;
}
