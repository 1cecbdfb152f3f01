/**
 * Activation-aware search (Lin et al., "AWQ", MLSys 2024): columns that see large activations are made larger before
 * rounding, and groups may be cut off below their largest weight. What rounding to nearest does is the first candidate
 * of both searches, so neither ends with a larger error on the calibration rows.
 */
import { bf16Bits, bf16Value, LARGEST_FLOAT, roundToInt4, scaleBits } from './round-to-nearest.js';
import type { RowSample } from './row-sample.js';
import type { SearchKernels } from './search-kernels.js';

/** Exponents of the mean activation; with `withWeights` those of the mean weight are `1 − exponent`, taken inversely. */
const EXPONENTS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1] as const;
/** Parts of the largest weight that the scale reaches; above 1 nothing is cut off at all. */
const CLIP_RATIOS = [1, 1.06, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6] as const;
/**
 * What a change must save of the error. A few percent of a layer's error on a sample are no gain at the end of the model
 * (measured on the demo model, test/bench/NOTES.md), and where outliers make factors pay they save far more.
 */
const SCALE_GAIN = 0.25;
const CLIP_GAIN = 0.1;
/** A factor beyond this says more about the sample than about the model. */
const LARGEST_FACTOR = 64;

export interface ScaleSearch {
  /** Rows `[rows, K]` of each linear with this input. */
  readonly weights: readonly Float32Array[];
  readonly inputs: RowSample;
  readonly groupSize: number;
  /** `[K]`: columns with the same number share a factor. Undefined: each has its own. */
  readonly shared?: Int32Array | undefined;
  /** Which factors can be folded exactly: norms are stored in 16 bit. */
  readonly realise?: ((factors: Float32Array) => Float32Array) | undefined;
}

/** Factors `[K]` for the columns; all 1 where nothing is better. */
export async function searchInputScale(kernels: SearchKernels, search: ScaleSearch): Promise<Float32Array> {
  const { weights, inputs, groupSize, realise = (factors) => factors } = search;
  const { columns } = inputs;
  const x = inputs.data();
  const energies: number[] = [];
  for (const rows of weights) energies.push(await kernels.energy(x, rows, columns));
  let best = realise(new Float32Array(columns).fill(1));
  let smallest = Number.POSITIVE_INFINITY;
  const candidates = [best, ...scaleCandidates(search).map(realise)];
  for (const factors of candidates) {
    let loss = 0;
    for (const [index, rows] of weights.entries()) {
      const error = await kernels.energy(x, roundingError(rows, factors, groupSize), columns);
      // Relative to its output, so that no linear of several outweighs the others.
      loss += error / Math.max(energies[index]!, 1e-30);
    }
    if (smallest === Number.POSITIVE_INFINITY) smallest = loss * (1 - SCALE_GAIN);
    else if (loss < smallest) [smallest, best] = [loss, factors];
  }
  return best;
}

function scaleCandidates({ weights, inputs, shared }: ScaleSearch): Float32Array[] {
  const { columns } = inputs;
  const weightSums = new Float64Array(columns);
  for (const rows of weights) for (let i = 0; i < rows.length; i += 1) weightSums[i % columns]! += Math.abs(rows[i]!);
  const activation = pooled(inputs.magnitudes(), shared);
  const weight = pooled(weightSums, shared);
  return EXPONENTS.flatMap((exponent) =>
    [0, 1 - exponent].map((inverse) => {
      const logs = Float64Array.from(activation, (value, i) =>
        value > 0 && weight[i]! > 0 ? exponent * Math.log(value) - inverse * Math.log(weight[i]!) : Number.NaN,
      );
      const known = logs.filter((log) => !Number.isNaN(log));
      const mean = known.reduce((sum, log) => sum + log, 0) / Math.max(1, known.length);
      const bound = Math.log(LARGEST_FACTOR);
      return Float32Array.from(logs, (log) =>
        Number.isNaN(log) ? 1 : Math.exp(Math.max(-bound, Math.min(bound, log - mean))),
      );
    }),
  );
}

/** The mean over columns that share a factor. */
function pooled(values: Float64Array, shared: Int32Array | undefined): Float64Array {
  if (shared === undefined) return values;
  const sums = new Map<number, { sum: number; count: number }>();
  values.forEach((value, i) => {
    const entry = sums.get(shared[i]!) ?? { sum: 0, count: 0 };
    sums.set(shared[i]!, { sum: entry.sum + value, count: entry.count + 1 });
  });
  return values.map((_, i) => {
    const { sum, count } = sums.get(shared[i]!)!;
    return sum / count;
  });
}

/** What rounding `rows · factors` changes, seen from the unscaled input: `[rows, K]`. */
function roundingError(rows: Float32Array, factors: Float32Array, groupSize: number): Float32Array {
  const columns = factors.length;
  const error = new Float32Array(rows.length);
  for (let start = 0; start < rows.length; start += groupSize) {
    const column = start % columns;
    let largest = 0;
    for (let i = 0; i < groupSize; i += 1) {
      largest = Math.max(largest, Math.abs(rows[start + i]! * factors[column + i]!));
    }
    const scale = bf16Value(scaleBits(Math.fround(largest)));
    for (let i = 0; i < groupSize; i += 1) {
      const factor = factors[column + i]!;
      const value = Math.fround(rows[start + i]! * factor);
      error[start + i] = (value - scale * roundToInt4(value, scale)) / factor;
    }
  }
  return error;
}

/** Xᵀ·X within each group: `[K/size, size, size]`, of the inputs divided by `factors`. */
export function groupGrams(inputs: RowSample, factors: Float32Array, size: number): Float32Array {
  const { columns } = inputs;
  const x = inputs.data();
  const grams = new Float32Array(columns * size);
  const row = new Float64Array(columns);
  for (let start = 0; start < x.length; start += columns) {
    for (let i = 0; i < columns; i += 1) row[i] = x[start + i]! / factors[i]!;
    for (let i = 0; i < columns; i += 1) {
      const value = row[i]!;
      if (value === 0) continue;
      const groupStart = i - (i % size);
      // The lower half only; the rest is its mirror image.
      for (let j = groupStart, at = i * size; j <= i; j += 1, at += 1) grams[at]! += value * row[j]!;
    }
  }
  for (let i = 0; i < columns; i += 1) {
    const groupStart = i - (i % size);
    for (let j = groupStart; j < i; j += 1) grams[j * size + (i - groupStart)] = grams[i * size + (j - groupStart)]!;
  }
  return grams;
}

/**
 * The scale of each group, `[rows, groups]` as bfloat16 bits, with the smallest error on the calibration rows.
 * @param weights `[rows, K]`, factors applied
 * @returns null when a weight is not a finite number
 */
export async function searchGroupScales(
  kernels: SearchKernels,
  weights: Float32Array,
  grams: Float32Array,
  groups: number,
  size: number,
): Promise<Uint16Array | null> {
  const rows = weights.length / groups / size;
  const largest = new Float32Array(rows * groups);
  for (let i = 0; i < weights.length; i += 1) {
    const magnitude = Math.abs(weights[i]!);
    if (!(magnitude <= LARGEST_FLOAT)) return null;
    const group = Math.floor(i / size);
    if (magnitude > largest[group]!) largest[group] = magnitude;
  }
  const best = new Uint16Array(rows * groups);
  const smallest = new Float32Array(rows * groups).fill(Number.POSITIVE_INFINITY);
  const error = new Float32Array(weights.length);
  for (const ratio of CLIP_RATIOS) {
    const bits = Uint16Array.from(largest, (value) => scaleBits(ratio === 1 ? value : Math.fround(value * ratio)));
    for (let row = 0; row < rows; row += 1) {
      for (let group = 0; group < groups; group += 1) {
        const scale = bf16Value(bits[row * groups + group]!);
        const from = (row * groups + group) * size;
        const to = (group * rows + row) * size;
        for (let i = 0; i < size; i += 1) {
          const value = weights[from + i]!;
          error[to + i] = value - scale * roundToInt4(value, scale);
        }
      }
    }
    const losses = await kernels.groupLosses(error, grams, groups, size);
    for (let row = 0; row < rows; row += 1) {
      for (let group = 0; group < groups; group += 1) {
        const loss = losses[group * rows + row]!;
        const at = row * groups + group;
        if (ratio === CLIP_RATIOS[0]) smallest[at] = loss * (1 - CLIP_GAIN);
        else if (!(loss < smallest[at]!)) continue;
        else smallest[at] = loss;
        best[at] = bits[at]!;
      }
    }
  }
  return best;
}

/** A norm that gives its output divided by `factors`, in bfloat16, and the factors that this comes to exactly. */
export function foldIntoNorm(norm: Float32Array, factors: Float32Array): { bits: Uint16Array; factors: Float32Array } {
  const bits = new Uint16Array(norm.length);
  const exact = new Float32Array(norm.length);
  norm.forEach((value, i) => {
    const divided = bf16Bits(Math.fround(value / factors[i]!));
    const usable = bf16Value(divided) !== 0 && Number.isFinite(bf16Value(divided));
    bits[i] = usable ? divided : bf16Bits(value);
    const stored = bf16Value(bits[i]!);
    exact[i] = stored === 0 || !Number.isFinite(value / stored) ? 1 : value / stored;
  });
  return { bits, factors: exact };
}
