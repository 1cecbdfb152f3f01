/** Attention weights from query vectors and the keys of images, for backends whose graphs give the queries. */
import type { TextArchitecture } from '../../architecture/architecture.js';
import type { AttentionRequest } from '../engine.js';
import { crossAttentionSpans } from './cross-attention.js';

/** An image as cross-attention sees it. */
export interface KeyedImage {
  /** Of its token, in the sequence. */
  readonly tokenIndex: number;
  /** Vision tokens of used tiles: the first ones of the keys. */
  readonly visible: number;
  /** Keys of one layer, `[kvHeads, keys, headDim]`. */
  key(layer: number): Float32Array;
}

export interface QueriedTokens {
  /** All images of the sequence, ascending by `tokenIndex`. */
  readonly images: readonly KeyedImage[];
  /** `[tokens, heads, headDim]` of one layer, normalised, not scaled. */
  query(layer: number): Float32Array;
  /** Index in the sequence of the first token that `query` has. */
  readonly firstToken: number;
  readonly tokens: number;
}

/**
 * Writes the weights of those tokens of the request that were computed now into `weights [heads, tokens, visionTokens]`
 * (see `AttentionWeights`), which starts as zeros.
 *
 * @param offset index in the slice of the first token that was computed now
 */
export function writeAttentionWeights(
  text: Pick<TextArchitecture, 'attentionHeads' | 'keyValueHeads' | 'headDim'>,
  { heads, tokens }: AttentionRequest,
  computed: QueriedTokens,
  offset: number,
  weights: Float32Array,
): void {
  const { attentionHeads, keyValueHeads, headDim } = text;
  const { images } = computed;
  const spans = crossAttentionSpans(images.map(({ tokenIndex }) => tokenIndex));
  const visionTokens = images.reduce((sum, { visible }) => sum + visible, 0);
  for (const [h, { layer, head }] of heads.entries()) {
    const keyValueHead = Math.floor((head * keyValueHeads) / attentionHeads);
    const queries = computed.query(layer);
    for (const [t, token] of tokens.entries()) {
      const row = token - offset;
      if (row < 0 || row >= computed.tokens) continue;
      const query = queries.subarray(
        (row * attentionHeads + head) * headDim,
        (row * attentionHeads + head + 1) * headDim,
      );
      const start = (h * tokens.length + t) * visionTokens;
      const out = weights.subarray(start, start + visionTokens);
      const index = computed.firstToken + row;
      const seen = images.map((_, image) => spans[image]!.start <= index && index < spans[image]!.end);
      if (!seen.includes(true)) continue;
      let at = 0;
      for (const [image, { visible, key }] of images.entries()) {
        const part = out.subarray(at, at + visible);
        if (seen[image]) scores(query, key(layer), keyValueHead, keyValueHeads, part);
        else part.fill(Number.NEGATIVE_INFINITY);
        at += visible;
      }
      softmax(out);
    }
  }
}

/** Scaled products of a query with the first `out.length` keys of one head. */
function scores(query: Float32Array, keys: Float32Array, head: number, heads: number, out: Float32Array): void {
  const headDim = query.length;
  const scale = 1 / Math.sqrt(headDim);
  const base = head * (keys.length / heads);
  for (let position = 0; position < out.length; position++) {
    const at = base + position * headDim;
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
