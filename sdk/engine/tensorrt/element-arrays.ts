/** Numbers of plans in arrays of JavaScript, which has none of 16-bit floats on Node 20. */
import { bfloat16Value, float16Value } from '../../graph/tensorrt/index.js';
import type { TensorRtArray, TensorRtType } from './addon-types.js';

/** Room for `count` floats of a type, by bits where they have 16. */
export function arrayFor(type: TensorRtType, count: number): TensorRtArray {
  return type === 'float32' ? new Float32Array(count) : new Uint16Array(count);
}

/** Of every bit pattern its number: pictures have millions of keys. */
const tables = new Map<TensorRtType, Float32Array>();

/** The numbers of a tensor of the addon, whatever they are kept as: bfloat16 and float16 come as their bits. */
export function floatsOf(values: TensorRtArray, type: TensorRtType): Float32Array {
  if (values instanceof Float32Array) return values;
  const toFloat = type === 'bfloat16' ? bfloat16Value : float16Value;
  const table = tables.get(type) ?? Float32Array.from({ length: 2 ** 16 }, (_, bits) => toFloat(bits));
  tables.set(type, table);
  const bits = values as Uint16Array;
  const floats = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) floats[i] = table[bits[i]!]!;
  return floats;
}
