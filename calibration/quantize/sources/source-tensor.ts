/** Where the values of a tensor come from: a file as it is, or arithmetic over several tensors. */
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { readTensorF32 } from '#sdk/checkpoint/index.js';
import type { WeightBits } from '../round-to-nearest.js';

export type FloatType = 'F32' | 'F16' | 'BF16';

/** int4 in groups that needs no rounding: the integers and scales of the source, in this product's layout. */
export interface ExactInt4 {
  readonly bits: WeightBits;
  /** Inputs that share a scale. */
  readonly groupSize: number;
  readonly scaleType: 'F16' | 'BF16';
  /** Rows `[count, K/8]`: eight values a word, lowest bits first, value + 8. */
  packed(first: number, count: number): Int32Array;
  /** `[N, K/group]`, the bits of `scaleType`. */
  scales(): Uint16Array;
}

export interface SourceTensor {
  readonly shape: readonly number[];
  /** What a tensor is written in that is not rounded to integers. */
  readonly dtype: FloatType;
  /** What is read of the source for it. */
  readonly sizeBytes: number;
  /** For messages. */
  readonly file: string;
  /** Bytes that can be copied as they are; undefined: values are computed. */
  readonly location?: TensorLocation | undefined;
  /** Inputs that shared a scale, of what was packed; all that are kept as integers are in `int4`. */
  readonly packedGroup?: number | undefined;
  /** The scales of what was packed, of rows [first, first + count): `[count, K/packedGroup]`. */
  packedScales?(first: number, count: number): Float32Array;
  readonly int4?: ExactInt4 | undefined;
  /** Rows [first, first + count) of the outermost axis, as float32. */
  rows(first: number, count: number): Float32Array;
}

/** A float tensor of a file. */
export function storedTensor(location: TensorLocation): SourceTensor {
  const { shape, sizeBytes, file } = location;
  const rows = (first: number, count: number) => readTensorF32(location, { first, count });
  return { shape, dtype: location.dtype as FloatType, sizeBytes, file, location, rows };
}

export function rowElements({ shape }: Pick<SourceTensor, 'shape'>): number {
  return shape.slice(1).reduce((product, side) => product * side, 1);
}
