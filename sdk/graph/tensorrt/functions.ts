/**
 * The hot parts of the decoder as operators of our own, with bodies in standard operators. Plugins of the same names
 * take their place when the bodies are removed (`toPluginMode`); until then every runtime computes the bodies.
 *
 * Sizes of attention are constants in a body: one model has one function of each name. The same sizes stand at each node
 * as attributes, for the plugins.
 */
import type { TextArchitecture } from '../../architecture/architecture.js';
import { groupedAttention, LOWEST_FLOAT, rotateHalves } from '../attention.js';
import type { Value } from '../builder.js';
import { FunctionBuilder } from '../function-builder.js';
import type { FunctionProto } from '../onnx.js';
import type { LoweredType } from './options.js';

export const INT4_MATMUL = 'Int4MatMul';
export const KV_ATTENTION = 'KvAttention';
export const CROSS_ATTENTION = 'CrossAttention';

type Heads = Pick<TextArchitecture, 'attentionHeads' | 'keyValueHeads' | 'headDim'>;

/** What a node says to its plugin. */
export function headAttributes({ attentionHeads, keyValueHeads, headDim }: Heads) {
  return { heads: attentionHeads, kvHeads: keyValueHeads, headDim };
}

/**
 * `x [tokens, K]`, int4 `weight [K, N]`, `scale [K/group, N]` → `[tokens, N]`. Attributes K, N, group.
 * As a plugin the same node takes the weight as it lies on disk: int32 `weight_packed [N, K/8]` (value + 8, lowest bits
 * first) and `weight_scale [N, K/group]`.
 */
export function int4MatMul(type: LoweredType): FunctionProto {
  return FunctionBuilder.make(INT4_MATMUL, ['K', 'N', 'group'], (b) => {
    const [x, weight, scale] = [b.input('x', type), b.input('weight', 'int4'), b.input('scale', type)];
    const attributes = { axis: 0, block_size: { integerOf: 'group' } };
    return [b.node('MatMul', [x, b.node('DequantizeLinear', [weight, scale], { attributes })])];
  });
}

/**
 * `q [R, heads, headDim]`, `k`, `v [R, kvHeads, headDim]` (not rotated), `past_key`, `past_value
 * [1, kvHeads, capacity, headDim]`, `past_length` int32 `[1]`, `cos`, `sin` float32 `[capacity, headDim/2]` →
 * `attended [R, heads·headDim]`, `present_key`, `present_value` like the past. Attributes heads, kvHeads, headDim,
 * capacity.
 *
 * Tokens stand at the positions from `past_length` on and see what is not after them. What the cache holds there and
 * behind is not looked at, but must be finite numbers, since a weight of 0 times infinity is none: a new cache is
 * filled with zeros.
 */
export function kvAttention(type: LoweredType, text: Heads, capacity: number): FunctionProto {
  const { attentionHeads, keyValueHeads, headDim } = text;
  return FunctionBuilder.make(KV_ATTENTION, ['heads', 'kvHeads', 'headDim', 'capacity'], (b) => {
    const [q, k, v] = ['q', 'k', 'v'].map((name) => b.input(name, type)) as [Value, Value, Value];
    const pastKey = b.input('past_key', type);
    const pastValue = b.input('past_value', type);
    const pastLength = b.input('past_length', 'int32');
    const tables = [b.input('cos', 'float32'), b.input('sin', 'float32')];

    // The first R of a constant 0, 1, 2 …, moved: the past's length is only ever a number on the device.
    const slots = b.ints(Array.from({ length: capacity }, (_, slot) => slot));
    const positions = b.add(b.slice(slots, b.ints([0]), b.dimension(q, 0), 0), b.as(pastLength, 'int64'));
    const [cos, sin] = tables.map((table) => b.reshape(b.gather(table, positions), [-1, 1, headDim / 2])) as [
      Value,
      Value,
    ];
    const rotated = (x: Value) => rotateHalves(b, b.as(x, 'float32'), cos, sin, headDim);
    // Scaled before the product, where float32 still holds what the product of float16 could not.
    const query = b.as(b.mul(rotated(q), b.scalar(1 / Math.sqrt(headDim))), type);

    const heads = b.reshape(b.ints(Array.from({ length: keyValueHeads }, (_, head) => head * capacity)), [-1, 1]);
    const places = b.reshape(b.add(heads, positions), [-1, 1]);
    const written = (past: Value, fresh: Value) => {
      const flat = b.reshape(past, [keyValueHeads * capacity, headDim]);
      const added = b.reshape(b.transpose(fresh, [1, 0, 2]), [-1, headDim]);
      return b.reshape(b.node('ScatterND', [flat, places, added]), [keyValueHeads, capacity, headDim]);
    };
    const keys = written(pastKey, b.as(rotated(k), type));
    const values = written(pastValue, v);

    const isFuture = b.node('Greater', [slots, b.reshape(positions, [-1, 1])]); // [R, capacity]
    const attended = groupedAttention(b, text, query, keys, values, {
      scores: (stacked, key) => b.node('MatMul', [stacked, b.transpose(key, [0, 2, 1])]),
      weights: (scores) =>
        softmax(b, b.node('Where', [isFuture, b.scalar(LOWEST_FLOAT), b.as(scores, 'float32')]), type),
    });
    const cache = (x: Value) => b.reshape(x, [1, keyValueHeads, capacity, headDim]);
    return [b.reshape(attended, [-1, attentionHeads * headDim]), cache(keys), cache(values)];
  });
}

/**
 * `q [R, heads, headDim]`, normalised, `key`, `value [1, kvHeads, K, headDim]`, `bias` float32 `[1, 1, R, K]` (0 or the
 * lowest float) → `attended [R, heads·headDim]`. Attributes heads, kvHeads, headDim.
 */
export function crossAttention(type: LoweredType, text: Heads): FunctionProto {
  const { keyValueHeads, headDim } = text;
  return FunctionBuilder.make(CROSS_ATTENTION, ['heads', 'kvHeads', 'headDim'], (b) => {
    const [q, key, value] = ['q', 'key', 'value'].map((name) => b.input(name, type)) as [Value, Value, Value];
    const bias = b.input('bias', 'float32');
    const query = b.as(b.mul(b.as(q, 'float32'), b.scalar(1 / Math.sqrt(headDim))), type);
    const flat = (x: Value) => b.reshape(x, [keyValueHeads, -1, headDim]);
    const attended = groupedAttention(b, text, query, flat(key), flat(value), {
      scores: (stacked, keys) => b.node('MatMul', [stacked, b.transpose(keys, [0, 2, 1])]),
      weights: (scores) => softmax(b, b.add(b.as(scores, 'float32'), bias), type),
    });
    return [attended];
  });
}

/** Over float32, whatever the type of what is weighed. */
function softmax(b: FunctionBuilder, scores: Value, type: LoweredType): Value {
  return b.as(b.node('Softmax', [scores], { attributes: { axis: -1 } }), type);
}
