/**
 * Which tokens of text see which images, as the numbers that a decoder graph takes. Pure: no tensors of
 * a runtime, no state.
 */
import type { Numerics } from '../engine.js';

/** Most negative finite float32: after the softmax exactly 0. */
export const LOWEST_FLOAT = -3.4028234663852886e38;

/** Rows `[start, end)` that see an image; `end` is Infinity for rows that are still to come. */
export interface CrossAttentionSpan {
  readonly start: number;
  readonly end: number;
}

/**
 * Each image is seen from its own token up to the next image's; the last one to the end. Images in a row are seen
 * together: a span of one row grows to the end of the span after it.
 *
 * @param tokenIndices Positions of the image tokens, ascending.
 */
export function crossAttentionSpans(tokenIndices: readonly number[]): CrossAttentionSpan[] {
  const spans: CrossAttentionSpan[] = [];
  for (let i = tokenIndices.length - 1; i >= 0; i--) {
    const start = tokenIndices[i]!;
    const next = tokenIndices[i + 1] ?? Number.POSITIVE_INFINITY;
    spans.unshift({ start, end: next === start + 1 ? spans[0]!.end : next });
  }
  return spans;
}

/**
 * Rows that see no image: `meta` drops both halves of a cross layer for them; Hugging Face drops the MLP half only and
 * lets them attend, unmasked, to every key of all slots, unused ones too.
 */
export function dropsAttentionOfBlindRows(numerics: Numerics): boolean {
  return numerics === 'meta';
}

/** What stays the same for all rows of an engine. */
export interface PlanConstants {
  /** Vision tokens of one tile, class token included. */
  readonly tokensPerTile: number;
  readonly maxNumTiles: number;
  readonly numerics: Numerics;
}

export interface PlanRequest extends PlanConstants {
  /** All images of the sequence, ascending by `tokenIndex`; images past the rows are allowed. */
  readonly images: readonly { readonly tokenIndex: number; readonly numTiles: number }[];
  /** Index of the first row in the sequence. */
  readonly firstRow: number;
  readonly rows: number;
}

export interface CrossAttentionPlan {
  /** Indices of the images whose keys take part, in order. Empty: no row of these sees anything. */
  readonly images: readonly number[];
  /** Sum of `keysPerImage` over `images`. */
  readonly keys: number;
  /** `[rows, keys]`: 0 where a row may look, else the lowest float. */
  readonly bias: Float32Array;
  /** `[rows]`: 1, or 0 where the row's result is dropped. */
  readonly attentionRows: Float32Array;
  readonly mlpRows: Float32Array;
}

/**
 * Keys that a backend keeps of an image. Under `meta` nobody ever looks at unused slots, so they are not kept;
 * under the others blind rows do.
 */
export function keysPerImage(constants: PlanConstants, numTiles: number): number {
  const slots = dropsAttentionOfBlindRows(constants.numerics) ? numTiles : constants.maxNumTiles;
  return slots * constants.tokensPerTile;
}

export function planCrossAttention(request: PlanRequest): CrossAttentionPlan {
  const { images, firstRow, rows, numerics } = request;
  const spans = crossAttentionSpans(images.map((image) => image.tokenIndex));
  const sees = (row: number, image: number) => spans[image]!.start <= row && row < spans[image]!.end;
  const rowIndices = Array.from({ length: rows }, (_, r) => firstRow + r);
  const blind = rowIndices.map((row) => !spans.some((_, image) => sees(row, image)));
  const dropsBlind = dropsAttentionOfBlindRows(numerics);
  const needsAll = !dropsBlind && blind.includes(true);
  const chosen = images
    .map((_, image) => image)
    .filter((image) => needsAll || rowIndices.some((row) => sees(row, image)));

  const keyCounts = chosen.map((image) => keysPerImage(request, images[image]!.numTiles));
  const keys = keyCounts.reduce((sum, count) => sum + count, 0);
  const bias = new Float32Array(rows * keys);
  for (let r = 0; r < rows; r++) {
    if (blind[r]) continue; // a row of zeros: either dropped or meant to look everywhere
    let at = r * keys;
    chosen.forEach((image, i) => {
      const visible = sees(rowIndices[r]!, image) ? images[image]!.numTiles * request.tokensPerTile : 0;
      bias.fill(LOWEST_FLOAT, at + visible, at + keyCounts[i]!);
      at += keyCounts[i]!;
    });
  }
  const open = Float32Array.from(blind, (isBlind) => (isBlind ? 0 : 1));
  // Without any image the cross layers do nothing at all, whatever the numerics.
  const attentionRows = dropsBlind || images.length === 0 ? open : new Float32Array(rows).fill(1);
  return { images: chosen, keys, bias, attentionRows, mlpRows: open };
}
