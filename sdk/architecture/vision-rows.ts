/**
 * Which rows the vision tower computes for an image, and how much each weighs as a key.
 *
 * All tile slots take part in attention, the unused ones and the padding of each tile too. But unused slots see the
 * same pixels and get the same embeddings, so they stay copies of each other in every layer, and so do the padding rows
 * of a tile. Equal keys with equal values are one key with weight m: exp(s) + … + exp(s) = exp(s + ln m). So one row of
 * each group is enough.
 */
import type { VisionArchitecture } from './architecture.js';

/** Patches of a tile are padded to a multiple of this. */
const ROW_MULTIPLE = 8;

export interface VisionGeometry {
  /** Tokens of one tile: class token and patches. */
  readonly tokensPerTile: number;
  /** The same with padding rows. Never equal: a square plus one is 1, 2 or 5 modulo 8. */
  readonly paddedTokensPerTile: number;
}

export function visionGeometry(vision: Pick<VisionArchitecture, 'tileSize' | 'patchSize'>): VisionGeometry {
  const side = Math.floor(vision.tileSize / vision.patchSize);
  const tokensPerTile = side * side + 1;
  return { tokensPerTile, paddedTokensPerTile: Math.ceil(tokensPerTile / ROW_MULTIPLE) * ROW_MULTIPLE };
}

export interface VisionRowsRequest {
  /** Used slots. */
  readonly numTiles: number;
  /** One row for rows that are copies of each other. Only where the unused slots have equal tile embeddings. */
  readonly merged: boolean;
  /** States of all slots; otherwise of the used ones. */
  readonly allSlots: boolean;
}

/**
 * Inputs of the vision graph beside the pixels. Rows stand in the order: tokens of used slots, tokens of unused slots,
 * padding; so what comes out of the tower is a beginning of the sequence.
 */
export interface VisionRows {
  /** Slots whose pixels the graph takes: the used ones and the unused ones that are computed. */
  readonly slots: number;
  /** Rows of used slots, which look at all keys; the others look at these. */
  readonly realRows: number;
  /** Rows that become features. */
  readonly featureRows: number;
  /** `[rows]` token of a row: slot × tokensPerTile + token; slots × tokensPerTile for padding. */
  readonly tokens: readonly number[];
  /** `[rows]` slot of a row. */
  readonly rowSlots: readonly number[];
  /** `[rows]` rows of the full sequence that this row stands for. */
  readonly weights: readonly number[];
  /** `[states]` feature row of a state, slot by slot. */
  readonly stateRows: readonly number[];
  /** `[T·P']` the row that stands for each row of the full sequence, tile by tile. */
  readonly fullSequence: readonly number[];
}

/** The rows that the vision tower computes for an image of `numTiles` tiles; `merged` leaves copies out. */
export function visionRows(
  vision: Pick<VisionArchitecture, 'tileSize' | 'patchSize' | 'maxNumTiles'>,
  request: VisionRowsRequest,
): VisionRows {
  const { tokensPerTile, paddedTokensPerTile } = visionGeometry(vision);
  const { maxNumTiles } = vision;
  const { numTiles, merged, allSlots } = request;
  const paddingPerTile = paddedTokensPerTile - tokensPerTile;
  const unused = maxNumTiles - numTiles;
  const slots = numTiles + (merged ? Math.min(unused, 1) : unused);
  const paddingRows = merged ? 1 : paddingPerTile;
  const slotWeight = (slot: number) => (merged && slot >= numTiles ? unused : 1);

  const tokens: number[] = [];
  const rowSlots: number[] = [];
  const weights: number[] = [];
  const add = (slot: number, token: number, weight: number) => {
    tokens.push(token);
    rowSlots.push(slot);
    weights.push(weight);
  };
  for (let slot = 0; slot < slots; slot++) {
    for (let t = 0; t < tokensPerTile; t++) add(slot, slot * tokensPerTile + t, slotWeight(slot));
  }
  for (let slot = 0; slot < slots; slot++) {
    const weight = (slotWeight(slot) * paddingPerTile) / paddingRows;
    for (let p = 0; p < paddingRows; p++) add(slot, slots * tokensPerTile, weight);
  }

  const stateRows: number[] = [];
  const fullSequence: number[] = [];
  for (let tile = 0; tile < maxNumTiles; tile++) {
    const slot = Math.min(tile, slots - 1);
    for (let t = 0; t < tokensPerTile; t++) {
      if (allSlots || tile < numTiles) stateRows.push(slot * tokensPerTile + t);
      fullSequence.push(slot * tokensPerTile + t);
    }
    const padding = slots * tokensPerTile + slot * paddingRows;
    for (let p = 0; p < paddingPerTile; p++) fullSequence.push(padding + Math.min(p, paddingRows - 1));
  }
  return {
    slots,
    realRows: numTiles * tokensPerTile,
    featureRows: (allSlots ? slots : numTiles) * tokensPerTile,
    tokens,
    rowSlots,
    weights,
    stateRows,
    fullSequence,
  };
}
