/** Attention weights from query vectors and the keys of images, for backends whose graphs give the queries. */
import type { TextArchitecture } from '../../architecture/architecture.js';
import type { AttentionRequest, HeadId } from '../engine.js';
import { crossAttentionSpans } from './cross-attention.js';

/** An image as cross-attention sees it. */
export interface KeyedImage {
  /** Of its token, in the sequence. */
  readonly tokenIndex: number;
  /** Vision tokens of used tiles: the first ones of the keys. */
  readonly visible: number;
  /** Keys of one key head, `[keys, headDim]`, at least the visible ones. */
  key(layer: number, keyValueHead: number): Float32Array;
}

export interface QueriedTokens {
  /** All images of the sequence, ascending by `tokenIndex`. */
  readonly images: readonly KeyedImage[];
  /** `[headDim]` of a head and a token of the slice, normalised, not scaled; undefined: not there (yet). */
  query(head: HeadId, token: number): Float32Array | undefined;
  /** Index in the sequence of the slice's first token. */
  readonly firstToken: number;
}

/** The head of the keys that a query head is multiplied with. */
export function keyValueHeadOf(
  { attentionHeads, keyValueHeads }: Pick<TextArchitecture, 'attentionHeads' | 'keyValueHeads'>,
  head: number,
): number {
  return Math.floor((head * keyValueHeads) / attentionHeads);
}

/**
 * Writes the weights of those heads and tokens of the request whose queries are there into
 * `weights [heads, tokens, visionTokens]` (see `AttentionWeights`), which starts as zeros.
 */
export function writeAttentionWeights(
  text: Pick<TextArchitecture, 'attentionHeads' | 'keyValueHeads'>,
  { heads, tokens }: AttentionRequest,
  { images, query, firstToken }: QueriedTokens,
  weights: Float32Array,
): void {
  const spans = crossAttentionSpans(images.map(({ tokenIndex }) => tokenIndex));
  const visionTokens = images.reduce((sum, { visible }) => sum + visible, 0);
  for (const [h, head] of heads.entries()) {
    const keyValueHead = keyValueHeadOf(text, head.head);
    for (const [t, token] of tokens.entries()) {
      const vector = query(head, token);
      if (vector === undefined) continue;
      const index = firstToken + token;
      const seen = images.map((_, image) => spans[image]!.start <= index && index < spans[image]!.end);
      if (!seen.includes(true)) continue;
      const start = (h * tokens.length + t) * visionTokens;
      const out = weights.subarray(start, start + visionTokens);
      let at = 0;
      for (const [image, { visible, key }] of images.entries()) {
        const part = out.subarray(at, at + visible);
        if (seen[image]) scores(vector, key(head.layer, keyValueHead), part);
        else part.fill(Number.NEGATIVE_INFINITY);
        at += visible;
      }
      softmax(out);
    }
  }
}

/** Scaled products of a query with the first `out.length` keys. */
function scores(query: Float32Array, keys: Float32Array, out: Float32Array): void {
  const headDim = query.length;
  const scale = 1 / Math.sqrt(headDim);
  for (let position = 0; position < out.length; position++) {
    const at = position * headDim;
    let sum = 0;
    for (let d = 0; d < headDim; d++) sum += query[d]! * keys[at + d]!;
    out[position] = sum * scale;
  }
}

function softmax(x: Float32Array): void {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of x) if (value > max) max = value;
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    x[i] = Math.exp(x[i]! - max);
    sum += x[i]!;
  }
  for (let i = 0; i < x.length; i++) x[i]! /= sum;
}
