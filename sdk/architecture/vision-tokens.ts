/**
 * Which tokens the vision tower computes for an image, and how much each weighs as a key.
 *
 * All tile slots take part in attention, the unused ones and the padding of each tile too. But unused slots see the
 * same pixels and get the same embeddings, so they stay copies of each other in every layer, and so do the padding
 * tokens of a tile. Equal keys with equal values are one key with weight m: exp(s) + … + exp(s) = exp(s + ln m). So one
 * token of each group is enough.
 */
import type { VisionArchitecture } from './architecture.js';

/** Tokens of a tile are padded to a multiple of this. */
const TOKEN_MULTIPLE = 8;

export interface VisionGeometry {
  /** Tokens of one tile: class token and patches. */
  readonly tokensPerTile: number;
  /** The same with padding tokens. Never equal: a square plus one is 1, 2 or 5 modulo 8. */
  readonly paddedTokensPerTile: number;
}

export function visionGeometry(vision: Pick<VisionArchitecture, 'tileSize' | 'patchSize'>): VisionGeometry {
  const side = Math.floor(vision.tileSize / vision.patchSize);
  const tokensPerTile = side * side + 1;
  return { tokensPerTile, paddedTokensPerTile: Math.ceil(tokensPerTile / TOKEN_MULTIPLE) * TOKEN_MULTIPLE };
}

export interface VisionTokensRequest {
  /** Used slots. */
  readonly numTiles: number;
  /** One token for those that are copies of each other. Only where the unused slots have equal tile embeddings. */
  readonly merged: boolean;
  /** States of all slots; otherwise of the used ones. */
  readonly allSlots: boolean;
}

/**
 * Inputs of the vision graph beside the pixels. Tokens stand in the order: those of used slots, those of unused slots,
 * padding; so what comes out of the tower is a beginning of the sequence.
 */
export interface VisionTokens {
  /** Slots whose pixels the graph takes: the used ones and the unused ones that are computed. */
  readonly slots: number;
  /** Tokens of used slots, which look at all keys; the others look at these. */
  readonly realTokens: number;
  /** Tokens that become features. */
  readonly featureTokens: number;
  /** `[tokens]` place of a token among the slots: slot × tokensPerTile + place in the slot; behind all for padding. */
  readonly tokenPlaces: readonly number[];
  /** `[tokens]` slot of a token. */
  readonly tokenSlots: readonly number[];
  /** `[tokens]` how many tokens of the full sequence this one stands for. */
  readonly weights: readonly number[];
  /** `[states]` index of the token that a state is made of, slot by slot. */
  readonly stateTokens: readonly number[];
  /** `[T·P']` index of the token that stands for each one of the full sequence, tile by tile. */
  readonly fullSequence: readonly number[];
}

/** The tokens that the vision tower computes for an image of `numTiles` tiles; `merged` leaves copies out. */
export function visionTokens(
  vision: Pick<VisionArchitecture, 'tileSize' | 'patchSize' | 'maxNumTiles'>,
  request: VisionTokensRequest,
): VisionTokens {
  const { tokensPerTile, paddedTokensPerTile } = visionGeometry(vision);
  const { maxNumTiles } = vision;
  const { numTiles, merged, allSlots } = request;
  const paddingPerTile = paddedTokensPerTile - tokensPerTile;
  const unused = maxNumTiles - numTiles;
  const slots = numTiles + (merged ? Math.min(unused, 1) : unused);
  const paddingTokens = merged ? 1 : paddingPerTile;
  const slotWeight = (slot: number) => (merged && slot >= numTiles ? unused : 1);

  const tokenPlaces: number[] = [];
  const tokenSlots: number[] = [];
  const weights: number[] = [];
  const add = (slot: number, place: number, weight: number) => {
    tokenPlaces.push(place);
    tokenSlots.push(slot);
    weights.push(weight);
  };
  for (let slot = 0; slot < slots; slot++) {
    for (let t = 0; t < tokensPerTile; t++) add(slot, slot * tokensPerTile + t, slotWeight(slot));
  }
  for (let slot = 0; slot < slots; slot++) {
    const weight = (slotWeight(slot) * paddingPerTile) / paddingTokens;
    for (let p = 0; p < paddingTokens; p++) add(slot, slots * tokensPerTile, weight);
  }

  const stateTokens: number[] = [];
  const fullSequence: number[] = [];
  for (let tile = 0; tile < maxNumTiles; tile++) {
    const slot = Math.min(tile, slots - 1);
    for (let t = 0; t < tokensPerTile; t++) {
      if (allSlots || tile < numTiles) stateTokens.push(slot * tokensPerTile + t);
      fullSequence.push(slot * tokensPerTile + t);
    }
    const padding = slots * tokensPerTile + slot * paddingTokens;
    for (let p = 0; p < paddingPerTile; p++) fullSequence.push(padding + Math.min(p, paddingTokens - 1));
  }
  return {
    slots,
    realTokens: numTiles * tokensPerTile,
    featureTokens: (allSlots ? slots : numTiles) * tokensPerTile,
    tokenPlaces,
    tokenSlots,
    weights,
    stateTokens,
    fullSequence,
  };
}
