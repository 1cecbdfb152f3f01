/** Attention over vision tokens as a grid of patches on the picture, whatever tiles it was cut into. */
import type { ImageGeometry } from '../../image/processed-image.js';

/** What some heads look at in one picture. */
export interface Attended {
  /** `[heads, visionTokens]`: of every used tile its class token, then its patches row by row. */
  readonly weights: Float32Array;
  readonly heads: number;
  /** How the picture was laid on tiles. */
  readonly geometry: ImageGeometry;
}

/** A value for each patch that shows some of the picture; row-major, origin top left. */
export interface AttentionMap {
  readonly columns: number;
  readonly rows: number;
  /** `[rows, columns]`, not negative. */
  readonly values: Float64Array;
  /** What a patch covers, as a fraction of the picture's width and height; the last one may reach beyond it. */
  readonly patchWidth: number;
  readonly patchHeight: number;
}

/**
 * One map of all heads: the sum of the square roots of their weights, so that no head drowns the others. Class tokens
 * have no place in the picture and are left out; so are patches of padding, and unused tiles have no tokens here.
 * @throws RangeError for weights that do not fit the tiles
 */
export function attentionMap({ weights, heads, geometry }: Attended): AttentionMap {
  const { canvasWidth, canvasHeight, resizedWidth, resizedHeight, tileSize } = geometry;
  const tileColumns = Math.round(canvasWidth / tileSize);
  const tiles = tileColumns * Math.round(canvasHeight / tileSize);
  const tokensPerTile = weights.length / heads / tiles;
  const side = Math.round(Math.sqrt(tokensPerTile - 1));
  if (side < 1 || side * side + 1 !== tokensPerTile) {
    throw new RangeError(`Expected a class token and a square of patches for each of ${tiles} tiles.`);
  }
  const patch = tileSize / side;
  const columns = shownPatches(resizedWidth / patch);
  const rows = shownPatches(resizedHeight / patch);
  const values = new Float64Array(rows * columns);
  for (let head = 0; head < heads; head++) {
    const own = head * tiles * tokensPerTile;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const tile = Math.floor(row / side) * tileColumns + Math.floor(column / side);
        const inTile = 1 + (row % side) * side + (column % side);
        values[row * columns + column]! += Math.sqrt(weights[own + tile * tokensPerTile + inTile]!);
      }
    }
  }
  return { columns, rows, values, patchWidth: patch / resizedWidth, patchHeight: patch / resizedHeight };
}

/** Patches along an axis of which the picture covers any part; `span` is its length in patches. */
function shownPatches(span: number): number {
  return Math.max(1, Math.ceil(span - 1e-6));
}
