/** Linears that somebody packed in groups of integers, read back to float32. */
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { f16ToF32 } from '#sdk/checkpoint/read-tensor.js';
import { openMappedFile } from '#sdk/native/index.js';
import type { ExactInt4, FloatType, SourceTensor } from './source-tensor.js';

export interface PackedLinear {
  readonly outputs: number;
  readonly inputs: number;
  /** Inputs that share a scale, when columns lie in their own order. */
  readonly groupSize: number;
  /** Unsigned integers of rows [first, first + count): `[count, K]`. */
  integers(first: number, count: number): Uint8Array;
  /** `[N, K/group]`. */
  readonly scales: Float32Array;
  /** `w = (q − zero) · scale`, `[N, K/group]` or one for all; or `w = q · scale + bias`. */
  readonly offset: { readonly zero: Float32Array | number } | { readonly bias: Float32Array };
  /** `[K]`: the group of each column, where that is not its place. */
  readonly groupOf?: Int32Array | undefined;
  readonly dtype: FloatType;
  readonly file: string;
  readonly sizeBytes: number;
  readonly bits: number;
}

/** Products of an integer of few bits and a 16-bit scale are exact in float32. */
export function packedTensor(linear: PackedLinear): SourceTensor {
  const { outputs, inputs, groupSize, scales, offset, groupOf, dtype, file, sizeBytes } = linear;
  const groups = scales.length / outputs;
  const rows = (first: number, count: number): Float32Array => {
    const integers = linear.integers(first, count);
    const values = new Float32Array(count * inputs);
    for (let row = 0; row < count; row += 1) {
      const start = (first + row) * groups;
      for (let column = 0; column < inputs; column += 1) {
        const group = start + (groupOf === undefined ? Math.floor(column / groupSize) : groupOf[column]!);
        const integer = integers[row * inputs + column]!;
        const scale = scales[group]!;
        values[row * inputs + column] =
          'bias' in offset
            ? Math.fround(integer * scale) + offset.bias[group]!
            : (integer - (typeof offset.zero === 'number' ? offset.zero : offset.zero[group]!)) * scale;
      }
    }
    return values;
  };
  const tensor = { shape: [outputs, inputs], dtype, sizeBytes, file, rows, int4: exactInt4(linear) };
  if (groupOf !== undefined) return tensor; // reordered: neighbours share no scale
  const packedScales = (first: number, count: number) => scales.subarray(first * groups, (first + count) * groups);
  return { ...tensor, packedGroup: groupSize, packedScales };
}

/** Symmetric around 8 and in order: integers and scales are kept. */
function exactInt4(linear: PackedLinear): ExactInt4 | undefined {
  const { bits, offset, groupOf, groupSize, inputs, scales } = linear;
  if (bits !== 4 || groupOf !== undefined || 'bias' in offset || inputs % groupSize !== 0) return undefined;
  const { zero } = offset;
  if (typeof zero === 'number' ? zero !== 8 : zero.some((each) => each !== 8)) return undefined;
  const half = scaleBits(scales);
  if (half === undefined) return undefined;
  return {
    bits: 4,
    groupSize,
    scaleType: half.type,
    scales: () => half.bits,
    packed: (first, count) => packNibbles(linear.integers(first, count)),
  };
}

function packNibbles(integers: Uint8Array): Int32Array {
  const packed = new Int32Array(integers.length / 8);
  for (let i = 0; i < integers.length; i += 1) packed[i >> 3]! |= integers[i]! << (4 * (i & 7));
  return packed;
}

/** The 16 bits of every scale, in the first type that holds them all exactly. */
function scaleBits(scales: Float32Array): { type: 'F16' | 'BF16'; bits: Uint16Array } | undefined {
  const words = new Uint32Array(scales.buffer, scales.byteOffset, scales.length);
  if (words.every((word) => (word & 0xffff) === 0)) {
    return { type: 'BF16', bits: Uint16Array.from(words, (word) => word >>> 16) };
  }
  const bits = Uint16Array.from(scales, f16Bits);
  const back = f16ToF32(bits);
  return scales.every((scale, i) => back[i] === scale) ? { type: 'F16', bits } : undefined;
}

const floatBits = new Float32Array(1);
const intBits = new Uint32Array(floatBits.buffer);

/** float16 bits of a float32, rounded to nearest, ties to even; beyond the range infinity. NaN stays NaN. */
export function f16Bits(value: number): number {
  floatBits[0] = value;
  const word = intBits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = Math.abs(floatBits[0]!);
  if (Number.isNaN(magnitude)) return sign | 0x7e00;
  if (magnitude >= 65_520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | roundToEven(magnitude * 2 ** 24);
  const exponent = ((word >>> 23) & 0xff) - 127;
  // A fraction that rounds up to 2 carries into the exponent, as it should.
  return sign | (((exponent + 15) << 10) + roundToEven((magnitude / 2 ** exponent - 1) * 1024));
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** 32-bit words of a tensor, copied: offsets in a file need not be multiples of four. */
export function readWords(
  location: TensorLocation,
  range?: { readonly first: number; readonly count: number },
): Uint32Array {
  const rowBytes = location.sizeBytes / (location.shape[0] ?? 1);
  using file = openMappedFile(
    location.file,
    range === undefined
      ? location
      : { offsetBytes: location.offsetBytes + range.first * rowBytes, sizeBytes: range.count * rowBytes },
  );
  return new Uint32Array(file.bytes.slice().buffer);
}

export function readInt8(location: TensorLocation): Int8Array {
  using file = openMappedFile(location.file, location);
  return new Int8Array(file.bytes.slice().buffer);
}

/** `[rows, columns]` to `[columns, rows]`. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) result[column * rows + row] = values[row * columns + column]!;
  }
  return result;
}
