/**
 * Symmetric int4 by rounding to nearest, in groups along the input: exactly the arithmetic that the demo model was
 * trained with (float32 throughout, ties to even):
 *
 *   scale = bf16(absmax / 7.5)      q = clamp(round(w / scale), −8, 7)
 */

export interface QuantizedRows {
  /** `[rows, inputs / 8]`: eight values a word, lowest bits first, value + 8. */
  readonly packed: Int32Array;
  /** `[rows, inputs / groupSize]`: bfloat16 bits. */
  readonly scales: Uint16Array;
  /** Σ (w − scale·q)² and Σ w², for the relative error. */
  readonly squaredError: number;
  readonly squaredSum: number;
}

/** A group of zeros, or of values that bfloat16 cannot scale, gets this scale and the value 0. */
const SMALLEST_SCALE = 1e-20;

export const LARGEST_FLOAT = 3.4028234663852886e38;

/** Adding and taking away 1.5·2²³ leaves a float32 no fraction bits: round to nearest, ties to even. */
const ROUNDING = 12_582_912;

const floatBits = new Float32Array(1);
const intBits = new Uint32Array(floatBits.buffer);

/** bfloat16 bits of a float32, rounded to nearest, ties to even. NaN stays NaN. */
export function bf16Bits(value: number): number {
  floatBits[0] = value;
  const bits = intBits[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function bf16Value(bits: number): number {
  intBits[0] = bits << 16;
  return floatBits[0]!;
}

/** The scale of a group by its largest magnitude: bfloat16 bits. */
export function scaleBits(largest: number): number {
  return bf16Bits(Math.max(Math.fround(largest / 7.5), SMALLEST_SCALE));
}

/** −8 … 7. */
export function roundToInt4(weight: number, scale: number): number {
  const rounded = Math.fround(Math.fround(Math.fround(weight / scale) + ROUNDING) - ROUNDING);
  return rounded < -8 ? -8 : Math.min(rounded, 7);
}

/** `weights`: whole groups. Null when a weight is not a finite number. */
export function groupScales(weights: Float32Array, groupSize: number): Uint16Array | null {
  const scales = new Uint16Array(weights.length / groupSize);
  for (let group = 0, i = 0; group < scales.length; group += 1) {
    let largest = 0;
    for (const end = i + groupSize; i < end; i += 1) {
      const magnitude = Math.abs(weights[i]!);
      // A NaN fails every comparison: ask for what is wanted, not for what is not.
      if (!(magnitude <= LARGEST_FLOAT)) return null;
      if (magnitude > largest) largest = magnitude;
    }
    scales[group] = scaleBits(largest);
  }
  return scales;
}

/**
 * @param weights `[rows, inputs]`; `inputs` is a multiple of `groupSize`, itself a multiple of 8
 * @param scales bfloat16 bits of another choice of scales; default `groupScales`
 * @returns null when a weight is not a finite number
 */
export function quantizeRows(
  weights: Float32Array,
  groupSize: number,
  scales: Uint16Array | null = groupScales(weights, groupSize),
): QuantizedRows | null {
  if (scales === null) return null;
  const packed = new Int32Array(weights.length / 8);
  let squaredError = 0;
  let squaredSum = 0;
  for (let group = 0, i = 0; group < scales.length; group += 1) {
    const scale = bf16Value(scales[group]!);
    for (const end = i + groupSize; i < end; i += 8) {
      let word = 0;
      for (let j = 0; j < 8; j += 1) {
        const weight = weights[i + j]!;
        const q = roundToInt4(weight, scale);
        word |= (q + 8) << (4 * j);
        const error = weight - scale * q;
        squaredError += error * error;
        squaredSum += weight * weight;
      }
      packed[i >> 3] = word;
    }
  }
  return { packed, scales, squaredError, squaredSum };
}
