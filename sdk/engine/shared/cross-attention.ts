/**
 * Which tokens of text see which images, as the numbers that a decoder graph takes. Pure: no tensors of
 * a runtime, no state.
 */
import type { Numerics } from '../engine.js';

/** Most negative finite float32: after the softmax exactly 0. */
export const LOWEST_FLOAT = -3.4028234663852886e38;

/** Tokens `[start, end)` that see an image; `end` is Infinity for tokens that are still to come. */
export interface CrossAttentionSpan {
  readonly start: number;
  readonly end: number;
}

/**
 * Each image is seen from its own token up to the next image's; the last one to the end. Images in a row are seen
 * together: a span of one token grows to the end of the span after it.
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
 * Tokens that see no image: `meta` drops both halves of a cross layer for them; Hugging Face drops the MLP half only and
 * lets them attend, unmasked, to every key of all slots, unused ones too.
 */
export function dropsAttentionOfBlindTokens(numerics: Numerics): boolean {
  return numerics === 'meta';
}

/** What stays the same for all calls of an engine. */
export interface PlanConstants {
  /** Vision tokens of one tile, class token included. */
  readonly tokensPerTile: number;
  readonly maxNumTiles: number;
  readonly numerics: Numerics;
}

export interface PlanRequest extends PlanConstants {
  /** All images of the sequence, ascending by `tokenIndex`; images past the tokens are allowed. */
  readonly images: readonly { readonly tokenIndex: number; readonly numTiles: number }[];
  /** Index of the first token in the sequence. */
  readonly firstToken: number;
  /** How many. */
  readonly tokens: number;
}

export interface CrossAttentionPlan {
  /** Indices of the images whose keys take part, in order. Empty: none of these tokens sees anything. */
  readonly images: readonly number[];
  /** Sum of `keysPerImage` over `images`. */
  readonly keys: number;
  /** `[tokens, keys]`: 0 where a token may look, else the lowest float. */
  readonly bias: Float32Array;
  /** `[tokens]`: 1, or 0 where the token's result is dropped. */
  readonly attentionTokens: Float32Array;
  readonly mlpTokens: Float32Array;
}

/**
 * Keys that a backend keeps of an image. Under `meta` nobody ever looks at unused slots, so they are not kept;
 * under the others blind tokens do.
 */
export function keysPerImage(constants: PlanConstants, numTiles: number): number {
  const slots = dropsAttentionOfBlindTokens(constants.numerics) ? numTiles : constants.maxNumTiles;
  return slots * constants.tokensPerTile;
}

/** Which image keys `tokens` tokens from `firstToken` on look at, as the tensors of a decoder step. */
export function planCrossAttention(request: PlanRequest): CrossAttentionPlan {
  const { images, firstToken, tokens, numerics } = request;
  const spans = crossAttentionSpans(images.map((image) => image.tokenIndex));
  const sees = (token: number, image: number) => spans[image]!.start <= token && token < spans[image]!.end;
  const indices = Array.from({ length: tokens }, (_, t) => firstToken + t);
  const blind = indices.map((token) => !spans.some((_, image) => sees(token, image)));
  const dropsBlind = dropsAttentionOfBlindTokens(numerics);
  const needsAll = !dropsBlind && blind.includes(true);
  const chosen = images
    .map((_, image) => image)
    .filter((image) => needsAll || indices.some((token) => sees(token, image)));

  const keyCounts = chosen.map((image) => keysPerImage(request, images[image]!.numTiles));
  const keys = keyCounts.reduce((sum, count) => sum + count, 0);
  const bias = new Float32Array(tokens * keys);
  for (let t = 0; t < tokens; t++) {
    if (blind[t]) continue; // zeros: either dropped or meant to look everywhere
    let at = t * keys;
    chosen.forEach((image, i) => {
      const visible = sees(indices[t]!, image) ? images[image]!.numTiles * request.tokensPerTile : 0;
      bias.fill(LOWEST_FLOAT, at + visible, at + keyCounts[i]!);
      at += keyCounts[i]!;
    });
  }
  const open = Float32Array.from(blind, (isBlind) => (isBlind ? 0 : 1));
  // Without any image the cross layers do nothing at all, whatever the numerics.
  const attentionTokens = dropsBlind || images.length === 0 ? open : new Float32Array(tokens).fill(1);
  return { images: chosen, keys, bias, attentionTokens, mlpTokens: open };
}
