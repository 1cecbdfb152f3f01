/**
 * How other tools lay out a linear `[N, K]` (outputs, inputs) in groups of integers. By the writers' own code: AutoGPTQ and
 * GPTQModel (`qlinear` packing), AutoAWQ (`WQLinear_GEMM`), mlx (`mx.quantize`, affine), compressed-tensors
 * (`pack_to_int32`).
 */
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { readTensorF32 } from '#sdk/checkpoint/index.js';
import { type PackedLinear, readInt8, readWords, transposed } from './packed-linear.js';
import type { FloatType } from './source-tensor.js';

/** A tensor beside the weight, by what is put in place of `weight` in its name. */
export type Sibling = (suffix: string) => TensorLocation | undefined;

/** Something of the layout does not fit; the message says what. */
export class LayoutProblem extends Error {}

const GROUP_BY_CHANNEL = -1;

interface Shape {
  readonly outputs: number;
  readonly inputs: number;
}

interface GroupedConfig {
  readonly groupSize: number;
}

/**
 * GPTQ, 4 bits: `qweight` I32 `[K/8, N]`, eight inputs a word, lowest bits first; `qzeros` I32 `[K/group, N/8]`, eight outputs
 * a word; `scales` `[K/group, N]`; `g_idx` I32 `[K]`. Format 1 stores zeros less one.
 */
export function gptqLinear(
  shape: Shape,
  find: Sibling,
  config: GroupedConfig & { readonly version: 1 | 2 },
): PackedLinear {
  const { outputs, inputs } = shape;
  const groupSize = config.groupSize === GROUP_BY_CHANNEL ? inputs : config.groupSize;
  const groups = Math.ceil(inputs / groupSize);
  const qweight = need(find, 'qweight', ['I32'], [inputs / 8, outputs]);
  const qzeros = need(find, 'qzeros', ['I32'], [groups, outputs / 8]);
  const scales = need(find, 'scales', FLOATS, [groups, outputs]);
  const order = find('g_idx');
  const words = memo(() => readWords(qweight));
  const integers = (first: number, count: number): Uint8Array => {
    const all = words();
    const result = new Uint8Array(count * inputs);
    for (let row = 0; row < count; row += 1) {
      for (let k = 0; k < inputs; k += 1) {
        result[row * inputs + k] = (all[(k >> 3) * outputs + first + row]! >>> (4 * (k & 7))) & 15;
      }
    }
    return result;
  };
  const zeroWords = readWords(qzeros);
  const zero = new Float32Array(outputs * groups);
  for (let n = 0; n < outputs; n += 1) {
    for (let g = 0; g < groups; g += 1) {
      const stored = (zeroWords[(g * outputs) / 8 + (n >> 3)]! >>> (4 * (n & 7))) & 15;
      zero[n * groups + g] = config.version === 1 ? stored + 1 : stored;
    }
  }
  return {
    outputs,
    inputs,
    groupSize,
    bits: 4,
    integers,
    scales: transposed(readTensorF32(scales), groups, outputs),
    offset: { zero },
    groupOf: reordered(order, inputs, groupSize, groups),
    dtype: floatType(scales),
    file: qweight.file,
    sizeBytes: sizeOf(qweight, qzeros, scales),
  };
}

/** Which nibble of a word has which of its eight outputs: AutoAWQ interleaves them for its kernel. */
const AWQ_NIBBLE = [0, 4, 1, 5, 2, 6, 3, 7];

/** AWQ, layout `gemm`: `qweight` I32 `[K, N/8]`, `qzeros` I32 `[K/group, N/8]`, `scales` `[K/group, N]`. */
export function awqLinear({ outputs, inputs }: Shape, find: Sibling, config: GroupedConfig): PackedLinear {
  const groupSize = config.groupSize === GROUP_BY_CHANNEL ? inputs : config.groupSize;
  const groups = inputs / groupSize;
  const qweight = need(find, 'qweight', ['I32'], [inputs, outputs / 8]);
  const qzeros = find('qzeros') === undefined ? undefined : need(find, 'qzeros', ['I32'], [groups, outputs / 8]);
  const scales = need(find, 'scales', FLOATS, [groups, outputs]);
  const nibble = (words: Uint32Array, row: number, n: number) =>
    (words[(row * outputs) / 8 + (n >> 3)]! >>> (4 * AWQ_NIBBLE[n & 7]!)) & 15;
  const words = memo(() => readWords(qweight));
  const integers = (first: number, count: number): Uint8Array => {
    const all = words();
    const result = new Uint8Array(count * inputs);
    for (let row = 0; row < count; row += 1) {
      for (let k = 0; k < inputs; k += 1) result[row * inputs + k] = nibble(all, k, first + row);
    }
    return result;
  };
  let zero: Float32Array | number = 8; // "zero_point": false
  if (qzeros !== undefined) {
    const zeroWords = readWords(qzeros);
    zero = new Float32Array(outputs * groups);
    for (let n = 0; n < outputs; n += 1) {
      for (let g = 0; g < groups; g += 1) zero[n * groups + g] = nibble(zeroWords, g, n);
    }
  }
  return {
    outputs,
    inputs,
    groupSize,
    bits: 4,
    integers,
    scales: transposed(readTensorF32(scales), groups, outputs),
    offset: { zero },
    dtype: floatType(scales),
    file: qweight.file,
    sizeBytes: sizeOf(qweight, qzeros, scales),
  };
}

/** MLX, affine: `weight` U32 `[N, K·bits/32]`, lowest bits first across words; `scales` and `biases` `[N, K/group]`. */
export function mlxLinear(
  { outputs, inputs }: Shape,
  find: Sibling,
  { groupSize, bits }: GroupedConfig & { readonly bits: number },
): PackedLinear {
  const groups = inputs / groupSize;
  const wordsPerRow = (inputs * bits) / 32;
  const weight = need(find, 'weight', ['U32'], [outputs, wordsPerRow]);
  const scales = need(find, 'scales', FLOATS, [outputs, groups]);
  const biases = need(find, 'biases', FLOATS, [outputs, groups]);
  const mask = 2 ** bits - 1;
  const integers = (first: number, count: number): Uint8Array => {
    const words = readWords(weight, { first, count });
    const result = new Uint8Array(count * inputs);
    for (let row = 0; row < count; row += 1) {
      for (let k = 0; k < inputs; k += 1) {
        const bit = k * bits;
        const at = row * wordsPerRow + (bit >> 5);
        const shift = bit & 31;
        // 3, 5 and 6 bits cross from one word into the next.
        const low = words[at]! >>> shift;
        const high = shift + bits > 32 ? words[at + 1]! << (32 - shift) : 0;
        result[row * inputs + k] = (low | high) & mask;
      }
    }
    return result;
  };
  return {
    outputs,
    inputs,
    groupSize,
    bits,
    integers,
    scales: readTensorF32(scales),
    offset: { bias: readTensorF32(biases) },
    dtype: floatType(scales),
    file: weight.file,
    sizeBytes: sizeOf(weight, scales, biases),
  };
}

/**
 * compressed-tensors `pack-quantized`: `weight_packed` I32 `[N, K·bits/32]`, value + half the range, lowest bits first;
 * `weight_scale` `[N, K/group]`; `weight_zero_point`, packed likewise along the outputs, I32 `[N·bits/32, K/group]`, or
 * plain I8 `[N, K/group]`; `weight_g_idx` I32 `[K]`.
 */
export function compressedLinear(
  { outputs, inputs }: Shape,
  find: Sibling,
  config: GroupedConfig & { readonly bits: 4 | 8; readonly asymmetric: boolean },
): PackedLinear {
  const { bits } = config;
  const groupSize = config.groupSize === 0 ? inputs : config.groupSize;
  const groups = Math.ceil(inputs / groupSize);
  const perWord = 32 / bits;
  const half = 2 ** (bits - 1);
  const wordsPerRow = Math.ceil(inputs / perWord);
  const packed = need(find, 'weight_packed', ['I32'], [outputs, wordsPerRow]);
  const scales = need(find, 'weight_scale', FLOATS, [outputs, groups]);
  const mask = 2 ** bits - 1;
  const integers = (first: number, count: number): Uint8Array => {
    const words = readWords(packed, { first, count });
    const result = new Uint8Array(count * inputs);
    for (let row = 0; row < count; row += 1) {
      for (let k = 0; k < inputs; k += 1) {
        const word = words[row * wordsPerRow + Math.floor(k / perWord)]!;
        result[row * inputs + k] = (word >>> (bits * (k % perWord))) & mask;
      }
    }
    return result;
  };
  let zero: Float32Array | number = half;
  if (config.asymmetric) {
    const found = find('weight_zero_point');
    zero = new Float32Array(outputs * groups);
    if (found?.dtype === 'I8') {
      const plain = need(find, 'weight_zero_point', ['I8'], [outputs, groups]);
      const bytes = readInt8(plain);
      for (let i = 0; i < zero.length; i += 1) zero[i] = bytes[i]! + half;
    } else {
      const words = readWords(need(find, 'weight_zero_point', ['I32'], [Math.ceil(outputs / perWord), groups]));
      for (let n = 0; n < outputs; n += 1) {
        for (let g = 0; g < groups; g += 1) {
          zero[n * groups + g] = (words[Math.floor(n / perWord) * groups + g]! >>> (bits * (n % perWord))) & mask;
        }
      }
    }
  }
  return {
    outputs,
    inputs,
    groupSize,
    bits,
    integers,
    scales: readTensorF32(scales),
    offset: { zero },
    groupOf: reordered(find('weight_g_idx'), inputs, groupSize, groups),
    dtype: scales.dtype === 'F32' ? 'BF16' : floatType(scales),
    file: packed.file,
    sizeBytes: sizeOf(packed, scales),
  };
}

const FLOATS = ['F32', 'F16', 'BF16'];

function need(find: Sibling, suffix: string, dtypes: readonly string[], shape: readonly number[]): TensorLocation {
  const found = find(suffix);
  if (found === undefined) throw new LayoutProblem(`${suffix} [${shape.join(', ')}] is missing`);
  if (!dtypes.includes(found.dtype)) {
    throw new LayoutProblem(`${suffix}: expected ${dtypes.join(' or ')}, the file has ${found.dtype}`);
  }
  const scalarRows = shape.length === 2 && shape[1] === 1 && found.shape.length === 1 && found.shape[0] === shape[0];
  if (!scalarRows && JSON.stringify(found.shape) !== JSON.stringify(shape)) {
    throw new LayoutProblem(
      `${suffix}: config.json implies [${shape.join(', ')}], the file has [${found.shape.join(', ')}]`,
    );
  }
  return found;
}

/** Undefined where every column lies in the group of its place. */
function reordered(order: TensorLocation | undefined, inputs: number, groupSize: number, groups: number) {
  if (order === undefined) return undefined;
  if (order.dtype !== 'I32' || order.shape.length !== 1 || order.shape[0] !== inputs) {
    throw new LayoutProblem(`g_idx: expected I32 [${inputs}], the file has ${order.dtype} [${order.shape.join(', ')}]`);
  }
  const groupOf = Int32Array.from(new Int32Array(readWords(order).buffer));
  if (groupOf.some((group) => group < 0 || group >= groups)) {
    throw new LayoutProblem(`g_idx names groups outside 0–${groups - 1}`);
  }
  return groupOf.every((group, k) => group === Math.floor(k / groupSize)) ? undefined : groupOf;
}

function floatType({ dtype }: TensorLocation): FloatType {
  return dtype as FloatType;
}

function sizeOf(...tensors: readonly (TensorLocation | undefined)[]): number {
  return tensors.reduce((sum, tensor) => sum + (tensor?.sizeBytes ?? 0), 0);
}

/** Layouts in which a row of the weight is a column of the file are read whole, and only once for neighbouring rows. */
function memo<T extends object>(read: () => T): () => T {
  let kept: WeakRef<T> | undefined;
  return () => {
    const there = kept?.deref();
    if (there !== undefined) return there;
    const made = read();
    kept = new WeakRef(made);
    return made;
  };
}
