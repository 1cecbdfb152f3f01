/**
 * Rounding with error feedback (Frantar et al., "GPTQ", ICLR 2023) within blocks of inputs: what one weight loses is
 * made up for by the weights behind it, as far as their inputs are correlated on the calibration rows. Blocks keep
 * time and memory in proportion to the weight: one matrix over all inputs of the 11B model's down_proj has 822 MB.
 */
import { bf16Value, roundToInt4 } from './round-to-nearest.js';

/** Inputs that compensate each other. A multiple of every group size. */
export const FEEDBACK_BLOCK = 128;
/** Added to the diagonal, relative to its mean: keeps what few rows tell from being taken for the truth. */
const DAMPING = 0.02;

/** For each block the upper Cholesky factor of its inverse Gram matrix, `[blocks, size, size]`. */
export interface FeedbackFactors {
  readonly size: number;
  readonly blocks: readonly Float64Array[];
}

/** @param grams `[K/size, size, size]` */
export function feedbackFactors(grams: Float32Array, size: number): FeedbackFactors {
  const blocks = Array.from({ length: grams.length / size / size }, (_, block) => {
    const gram = Float64Array.from(grams.subarray(block * size * size, (block + 1) * size * size));
    let trace = 0;
    for (let i = 0; i < size; i += 1) trace += gram[i * size + i]!;
    // Inputs that are always 0 have no say; the identity leaves their weights alone.
    const added = trace > 0 ? (DAMPING * trace) / size : 1;
    for (let i = 0; i < size; i += 1) gram[i * size + i]! += added;
    return transposed(cholesky(inverse(gram, size), size), size);
  });
  return { size, blocks };
}

/**
 * Rounds `weights [rows, K]`, in place: what stays there is the change, value minus rounded value, of each weight.
 * @param scales `[rows, K/groupSize]`: bfloat16 bits
 * @returns `[rows, K/8]`: eight values a word, lowest bits first, value + 8
 */
export function roundWithFeedback(
  weights: Float32Array,
  scales: Uint16Array,
  groupSize: number,
  columns: number,
  { size, blocks }: FeedbackFactors,
): Int32Array {
  const packed = new Int32Array(weights.length / 8);
  const pending = new Float64Array(size);
  for (let start = 0; start < weights.length; start += size) {
    const factor = blocks[(start % columns) / size]!;
    for (let i = 0; i < size; i += 1) pending[i] = weights[start + i]!;
    for (let i = 0; i < size; i += 1) {
      const at = start + i;
      const scale = bf16Value(scales[Math.floor(at / groupSize)]!);
      const value = pending[i]!;
      const rounded = roundToInt4(value, scale);
      packed[at >> 3]! |= (rounded + 8) << (4 * (at & 7));
      const error = (value - scale * rounded) / factor[i * size + i]!;
      for (let j = i + 1, f = i * size + j; j < size; j += 1, f += 1) pending[j]! -= error * factor[f]!;
      weights[at] = weights[at]! - scale * rounded;
    }
  }
  return packed;
}

/** Lower factor L of a symmetric positive definite matrix: A = L·Lᵀ. */
function cholesky(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k += 1) sum -= l[i * n + k]! * l[j * n + k]!;
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j]!;
    }
  }
  return l;
}

/** Through the Cholesky factor: A⁻¹ = L⁻ᵀ·L⁻¹. */
function inverse(a: Float64Array, n: number): Float64Array {
  const l = cholesky(a, n);
  const inverted = new Float64Array(n * n); // L⁻¹
  for (let column = 0; column < n; column += 1) {
    for (let row = column; row < n; row += 1) {
      let sum = row === column ? 1 : 0;
      for (let k = column; k < row; k += 1) sum -= l[row * n + k]! * inverted[k * n + column]!;
      inverted[row * n + column] = sum / l[row * n + row]!;
    }
  }
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = 0;
      for (let k = i; k < n; k += 1) sum += inverted[k * n + i]! * inverted[k * n + j]!;
      result[i * n + j] = sum;
      result[j * n + i] = sum;
    }
  }
  return result;
}

function transposed(a: Float64Array, n: number): Float64Array {
  return a.map((_, at) => a[(at % n) * n + Math.floor(at / n)]!);
}
