/** Attention of the text decoder in its two forms: over images, and over the sequence itself. */
import type { TextArchitecture } from '../architecture/architecture.js';
import { type GraphBuilder, MICROSOFT, type Value } from './builder.js';

export const LOWEST_FLOAT = -3.4028234663852886e38;
/** GroupQueryAttention of ONNX Runtime 1.30 takes head sizes that are multiples of this when it rotates. */
const FUSED_HEAD_MULTIPLE = 16;

/** What sets the lowerings apart inside attention. */
export interface AttentionOperators {
  /** `[kvHeads, group·R, headDim]` times `[kvHeads, K, headDim]`, scaled: `[kvHeads, group·R, K]`. */
  scores(query: Value, key: Value): Value;
  /** `[kvHeads, group, R, K]` to weights over the keys. */
  weights(scores: Value): Value;
}

/**
 * `query [R, heads, headDim]`, `key`, `value [kvHeads, K, headDim]` → `[R, heads·headDim]`.
 * The query heads that share a key head are laid one under another, so keys and values are never repeated.
 */
export function groupedAttention(
  b: GraphBuilder,
  text: Pick<TextArchitecture, 'attentionHeads' | 'keyValueHeads' | 'headDim'>,
  query: Value,
  key: Value,
  value: Value,
  operators: AttentionOperators,
): Value {
  const { attentionHeads, keyValueHeads, headDim } = text;
  const group = attentionHeads / keyValueHeads;
  const stacked = b.reshape(b.transpose(query, [1, 0, 2]), [keyValueHeads, -1, headDim]); // [kvHeads, group·R, headDim]
  const scores = operators.scores(stacked, key);
  const tokens = b.dimension(query, 0);
  const keys = b.dimension(key, 1);
  const perHead = b.node('Reshape', [scores, b.concat([b.ints([keyValueHeads, group]), tokens, keys], 0)]);
  const weights = operators.weights(perHead);
  const flat = b.node('Reshape', [weights, b.concat([b.ints([keyValueHeads, -1]), keys], 0)]);
  const mixed = b.node('MatMul', [flat, value]); // [kvHeads, group·R, headDim]
  const byHead = b.node('Reshape', [mixed, b.concat([b.ints([attentionHeads]), tokens, b.ints([headDim])], 0)]);
  return b.reshape(b.transpose(byHead, [1, 0, 2]), [-1, attentionHeads * headDim]);
}

/** For ONNX Runtime in float32; `bias [.., R, K]` is added to the scores. */
export function biasedAttention(
  b: GraphBuilder,
  text: TextArchitecture,
  query: Value,
  key: Value,
  value: Value,
  bias: Value,
): Value {
  return groupedAttention(b, text, query, key, value, {
    scores: (stacked, keys) =>
      b.node('FusedMatMul', [stacked, keys], {
        domain: MICROSOFT,
        attributes: { transB: 1, alpha: { float: 1 / Math.sqrt(text.headDim) } },
      }),
    weights: (scores) => b.node('Softmax', [b.add(scores, bias)], { attributes: { axis: -1 } }),
  });
}

/**
 * Rotates pairs (i, i + headDim/2) of `x [tokens, heads, headDim]`; `cos`, `sin [tokens, 1, headDim/2]`.
 * Published checkpoints have their weights in this layout; Meta's own files pair neighbours (i, i + 1).
 */
export function rotateHalves(b: GraphBuilder, x: Value, cos: Value, sin: Value, headDim: number): Value {
  const half = headDim / 2;
  const low = b.slice(x, b.ints([0]), b.ints([half]), 2);
  const high = b.slice(x, b.ints([half]), b.ints([headDim]), 2);
  return b.concat([b.node('Sub', [b.mul(low, cos), b.mul(high, sin)]), b.add(b.mul(high, cos), b.mul(low, sin))], 2);
}

/** What all self-attention layers of a graph share. */
export interface SelfAttentionInputs {
  /** int32 `[1]`: valid length with the new tokens, minus 1. */
  readonly seqlens: Value;
  /** int32 scalar: past + new tokens. */
  readonly total: Value;
  /** First new token and one past the last, int64 `[1]`. */
  readonly start: Value;
  readonly end: Value;
  /** Rotary tables `[contextLength, headDim / 2]`. */
  readonly cos: Value;
  readonly sin: Value;
}

export interface SelfAttentionTokens {
  /** `[R, heads·headDim]`, key and value `[R, kvHeads·headDim]`, not rotated. */
  readonly query: Value;
  readonly key: Value;
  readonly value: Value;
  /** `[1, kvHeads, capacity, headDim]`; tokens before `start` are valid. */
  readonly pastKey: Value;
  readonly pastValue: Value;
}

export interface SelfAttentionResult {
  /** `[R, heads·headDim]`. */
  readonly attended: Value;
  /** `[1, kvHeads, R, headDim]`, key rotated. */
  readonly newKey: Value;
  readonly newValue: Value;
}

/** Causal attention with rotary positions over the past and the new tokens. */
export function selfAttention(
  b: GraphBuilder,
  text: TextArchitecture,
  shared: SelfAttentionInputs,
  tokens: SelfAttentionTokens,
): SelfAttentionResult {
  const fused = text.headDim % FUSED_HEAD_MULTIPLE === 0;
  return fused ? fusedSelfAttention(b, text, shared, tokens) : plainSelfAttention(b, text, shared, tokens);
}

function fusedSelfAttention(
  b: GraphBuilder,
  text: TextArchitecture,
  shared: SelfAttentionInputs,
  tokens: SelfAttentionTokens,
): SelfAttentionResult {
  const { attentionHeads, keyValueHeads, headDim } = text;
  const batched = (x: Value, heads: number) => b.reshape(x, [1, -1, heads * headDim]);
  const [attended, key, value] = b.multiNode(
    'GroupQueryAttention',
    [
      batched(tokens.query, attentionHeads),
      batched(tokens.key, keyValueHeads),
      batched(tokens.value, keyValueHeads),
      tokens.pastKey,
      tokens.pastValue,
      shared.seqlens,
      shared.total,
      shared.cos,
      shared.sin,
    ],
    ['attention', 'key', 'value'],
    {
      domain: MICROSOFT,
      attributes: { num_heads: attentionHeads, kv_num_heads: keyValueHeads, do_rotary: 1, rotary_interleaved: 0 },
    },
  );
  return {
    attended: b.reshape(attended!, [-1, attentionHeads * headDim]),
    newKey: b.slice(key!, shared.start, shared.end, 2),
    newValue: b.slice(value!, shared.start, shared.end, 2),
  };
}

/** The same in standard operators, for head sizes that the fused operator refuses. */
function plainSelfAttention(
  b: GraphBuilder,
  text: TextArchitecture,
  shared: SelfAttentionInputs,
  tokens: SelfAttentionTokens,
): SelfAttentionResult {
  const { attentionHeads, keyValueHeads, headDim } = text;
  const half = headDim / 2;
  const positions = (table: Value) => b.reshape(b.slice(table, shared.start, shared.end, 0), [-1, 1, half]);
  const cos = positions(shared.cos);
  const sin = positions(shared.sin);
  const rotate = (x: Value) => rotateHalves(b, x, cos, sin, headDim);
  const query = rotate(b.reshape(tokens.query, [-1, attentionHeads, headDim]));
  const headsFirst = (x: Value) => b.reshape(b.transpose(x, [1, 0, 2]), [1, keyValueHeads, -1, headDim]);
  const newKey = headsFirst(rotate(b.reshape(tokens.key, [-1, keyValueHeads, headDim])));
  const newValue = headsFirst(b.reshape(tokens.value, [-1, keyValueHeads, headDim]));
  const whole = (past: Value, added: Value) =>
    b.reshape(b.concat([b.slice(past, b.ints([0]), shared.start, 2), added], 2), [keyValueHeads, -1, headDim]);

  const scalar = (x: Value) => b.node('Squeeze', [x]);
  const one = b.node('Squeeze', [b.ints([1])]);
  const range = (from: Value, to: Value) => b.node('Range', [scalar(from), scalar(to), one]);
  const tokenPositions = b.reshape(range(shared.start, shared.end), [-1, 1]);
  const isFuture = b.node('Greater', [range(b.ints([0]), shared.end), tokenPositions]); // [R, total]
  const bias = b.node('Where', [isFuture, b.scalar(LOWEST_FLOAT), b.scalar(0)]);
  const attended = biasedAttention(
    b,
    text,
    query,
    whole(tokens.pastKey, newKey),
    whole(tokens.pastValue, newValue),
    bias,
  );
  return { attended, newKey, newValue };
}
