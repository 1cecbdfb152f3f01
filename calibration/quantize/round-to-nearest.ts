/**
 * Symmetric integers by rounding to nearest, in groups along the input: exactly the arithmetic that the demo model was
 * trained with (float32 throughout, ties to even), here for 4 bits:
 *
 *   scale = bf16(absmax / 7.5)      q = clamp(round(w / scale), −8, 7)
 *
 * 8 bits: 127, −128 and 127, so that no weight is off by more than half a step (and what bfloat16 takes of the scale).
 */

export type WeightBits = 4 | 8;

export interface QuantizedRows {
  /** `[rows, inputs · bits / 32]`: eight (8 bits: four) values a word, lowest bits first, value + 8 (+ 128). */
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
export function scaleBits(largest: number, bits: WeightBits = 4): number {
  return bf16Bits(Math.max(Math.fround(largest / (bits === 4 ? 7.5 : 127)), SMALLEST_SCALE));
}

/** 8 of the 16 values that 4 bits have. */
function halfRange(bits: WeightBits): number {
  return 2 ** (bits - 1);
}

/** −8 … 7. */
export function roundToInt4(weight: number, scale: number): number {
  return roundTo(weight, scale, 8);
}

/** −half … half − 1. */
function roundTo(weight: number, scale: number, half: number): number {
  const rounded = Math.fround(Math.fround(Math.fround(weight / scale) + ROUNDING) - ROUNDING);
  return rounded < -half ? -half : Math.min(rounded, half - 1);
}

/** `weights`: whole groups. Null when a weight is not a finite number. */
export function groupScales(weights: Float32Array, groupSize: number, bits: WeightBits = 4): Uint16Array | null {
  const scales = new Uint16Array(weights.length / groupSize);
  for (let group = 0, i = 0; group < scales.length; group += 1) {
    let largest = 0;
    for (const end = i + groupSize; i < end; i += 1) {
      const magnitude = Math.abs(weights[i]!);
      // A NaN fails every comparison: ask for what is wanted, not for what is not.
      if (!(magnitude <= LARGEST_FLOAT)) return null;
      if (magnitude > largest) largest = magnitude;
    }
    scales[group] = scaleBits(largest, bits);
  }
  return scales;
}

/** Adding and taking away 1.5·2⁵² leaves a float64 no fraction bits. */
const ROUNDING_64 = 6_755_399_441_055_744;

/** Σ (w − scale·q)² of a group, or any number that is no less than `least`. Without the float32 steps of `roundTo`. */
function errorOf(weights: Float32Array, first: number, groupSize: number, scale: number, least: number): number {
  const inverse = 1 / scale;
  let error = 0;
  for (let i = first; i < first + groupSize; i += 8) {
    for (let j = i; j < i + 8; j += 1) {
      const weight = weights[j]!;
      let q = weight * inverse + ROUNDING_64 - ROUNDING_64;
      if (q > 7) q = 7;
      else if (q < -8) q = -8;
      const difference = weight - scale * q;
      error += difference * difference;
    }
    if (error >= least) return error;
  }
  return error;
}

/** Shares of the usual scale that are tried where a group's own levels are known to lie elsewhere. */
const SHARES = [1, 0.97, 0.94, 0.9, 0.86, 0.82, 0.78, 0.74, 0.7, 0.65, 0.6];

/**
 * The scale with the smallest Σ (w − scale·q)² of each group: for weights that lie on the levels of another int4 already,
 * whose steps a fresh scale would cut through.
 * @param hints `[groups]`: the steps of the source, which fit exactly where its levels lie around zero
 * @returns null when a weight is not a finite number
 */
export function searchedScales(weights: Float32Array, groupSize: number, hints: Float32Array): Uint16Array | null {
  const scales = groupScales(weights, groupSize);
  if (scales === null) return null;
  for (let group = 0; group < scales.length; group += 1) {
    const usual = bf16Value(scales[group]!);
    const first = group * groupSize;
    let least = Number.POSITIVE_INFINITY;
    for (const candidate of [hints[group]!, ...SHARES.map((share) => usual * share)]) {
      const bits = bf16Bits(Math.max(candidate, SMALLEST_SCALE));
      const scale = bf16Value(bits);
      const error = errorOf(weights, first, groupSize, scale, least);
      if (error >= least) continue;
      least = error;
      scales[group] = bits;
    }
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
  return packRows(weights, groupSize, scales, 4);
}

/** The same with 8 bits. */
export function quantizeRowsTo8Bits(weights: Float32Array, groupSize: number): QuantizedRows | null {
  return packRows(weights, groupSize, groupScales(weights, groupSize, 8), 8);
}

function packRows(
  weights: Float32Array,
  groupSize: number,
  scales: Uint16Array | null,
  bits: WeightBits,
): QuantizedRows | null {
  if (scales === null) return null;
  const half = halfRange(bits);
  const perWord = 32 / bits;
  const packed = new Int32Array(weights.length / perWord);
  let squaredError = 0;
  let squaredSum = 0;
  for (let group = 0, i = 0; group < scales.length; group += 1) {
    const scale = bf16Value(scales[group]!);
    for (const end = i + groupSize; i < end; i += perWord) {
      let word = 0;
      for (let j = 0; j < perWord; j += 1) {
        const weight = weights[i + j]!;
        const q = roundTo(weight, scale, half);
        word |= (q + half) << (bits * j);
        const error = weight - scale * q;
        squaredError += error * error;
        squaredSum += weight * weight;
      }
      packed[i / perWord] = word;
    }
  }
  return { packed, scales, squaredError, squaredSum };
}
