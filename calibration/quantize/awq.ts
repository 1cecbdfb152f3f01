/**
 * Calibrates a checkpoint for int4, a layer at a time. Factors are folded only where float results stay the same:
 * norm → q, k, v (cross layers: q, for keys and values come from the picture); norm → gate, up; v → o, shared by the
 * query heads of a key/value head; up → down; the last norm → lm_head. All are clipped
 * and rounded with error feedback.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelDescription, TensorLocation } from '#sdk/architecture/architecture.js';
import { type Checkpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { physicalCores } from '#sdk/engine/shared/cpu-info.js';
import {
  type Adjustments,
  adjustedRows,
  exists,
  type LayerAdjustments,
  type LinearAdjustment,
  readAdjustments,
  writeAdjustments,
} from './adjustments.js';
import { foldIntoNorm, groupGrams, searchGroupScales, searchInputScale } from './awq-search.js';
import type { CalibrationScene } from './calibration-samples.js';
import { FEEDBACK_BLOCK, feedbackFactors, roundWithFeedback } from './error-feedback.js';
import { damagedTensor } from './finite.js';
import { LayerRunner, type LinearInputs } from './layer-runner.js';
import type { LmHeadPrecision } from './plan.js';
import type { RowSample } from './row-sample.js';
import { Runtime } from './runtime.js';
import { SearchKernels } from './search-kernels.js';

/** Weights looked at together: 4 MB as float32. */
const CHUNK_ELEMENTS = 1 << 20;
/** Rows of a weight that the search for factors looks at. */
const SEARCH_ROWS = 512;
const FINAL_NORM = 'language_model.model.norm.weight';
const LM_HEAD = 'language_model.lm_head.weight';

export interface AwqOptions extends CallOptions {
  readonly groupSize: number;
  readonly lmHead: LmHeadPrecision;
  /** Kept between runs: layers that are decided are not searched again. */
  readonly workDirectory: string;
  readonly threads?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * @throws SdkError ERR_MODEL_INVALID for weights that are not finite, or give such values; the errors of ONNX Runtime
 *   and of decoding
 */
export async function calibrate(
  checkpoint: Checkpoint,
  scenes: readonly CalibrationScene[],
  options: AwqOptions,
): Promise<Adjustments> {
  const { signal, workDirectory, onProgress } = options;
  await mkdir(workDirectory, { recursive: true });
  const { text } = checkpoint.model.architecture;
  const fileOf = (part: string | number) => join(workDirectory, `layer-${part}.safetensors`);
  const runtime = await Runtime.load(options.threads ?? physicalCores());
  const runner = await LayerRunner.open(checkpoint, scenes, runtime, {
    ...options,
    onStep: (done, total) => onProgress?.({ phase: 'calibrate: pictures', done, total, unit: 'steps' }),
  });
  await using kernels = await SearchKernels.open(runtime);
  const calibrator = new Calibrator(checkpoint.model, kernels, options);
  const files: string[] = [];
  for (let layer = 0; layer < text.layers; layer += 1) {
    signal?.throwIfAborted();
    onProgress?.({ phase: 'calibrate: layers', done: layer, total: text.layers, unit: 'steps' });
    const inputs = await runner.advance(layer, signal);
    files.push(fileOf(layer));
    if (!(await exists(fileOf(layer)))) await writeAdjustments(fileOf(layer), await calibrator.layer(layer, inputs));
  }
  if (options.lmHead === 'int4') {
    files.push(fileOf('head'));
    const norm = readTensorF32(checkpoint.model.tensors.get(FINAL_NORM)!);
    if (!(await exists(fileOf('head')))) {
      await writeAdjustments(fileOf('head'), await calibrator.head(norm, runner.headInputs(norm)));
    }
  }
  onProgress?.({ phase: 'calibrate: layers', done: text.layers, total: text.layers, unit: 'steps' });
  return readAdjustments(files);
}

/** A linear with what goes into it, and the factors found so far. */
interface Linear {
  readonly name: string;
  readonly inputs: RowSample;
  input: Float32Array;
  output: Float32Array;
}

class Calibrator {
  readonly #model: ModelDescription;
  readonly #kernels: SearchKernels;
  readonly #options: AwqOptions;

  constructor(model: ModelDescription, kernels: SearchKernels, options: AwqOptions) {
    this.#model = model;
    this.#kernels = kernels;
    this.#options = options;
  }

  async layer(layer: number, inputs: LinearInputs): Promise<LayerAdjustments> {
    const prefix = `language_model.model.layers.${layer}`;
    const isCross = this.#model.architecture.text.crossAttentionLayers.includes(layer);
    const attention = `${prefix}.${isCross ? 'cross_attn' : 'self_attn'}`;
    const linear = (base: string, name: string, from = name) =>
      this.#linear(`${base}.${name}.weight`, inputs.get(from)!);
    const [q, o] = [linear(attention, 'q_proj'), linear(attention, 'o_proj')];
    const [k, v] = (['k_proj', 'v_proj'] as const).map((name) =>
      linear(attention, name, isCross ? 'states' : name),
    ) as [Linear, Linear];
    const [gate, up, down] = (['gate_proj', 'up_proj', 'down_proj'] as const).map((name) =>
      linear(`${prefix}.mlp`, name),
    ) as [Linear, Linear, Linear];

    const norms = new Map([
      await this.#foldNorm(`${prefix}.input_layernorm.weight`, isCross ? [q] : [q, k, v]),
      await this.#foldNorm(`${prefix}.post_attention_layernorm.weight`, [gate, up]),
    ]);
    await this.#foldValues(v, o);
    down.input = await this.#search([down]);
    up.output = down.input;
    const linears = new Map<string, LinearAdjustment>();
    for (const each of [q, k, v, o, gate, up, down]) linears.set(each.name, await this.#round(each));
    return { linears, norms };
  }

  async head(norm: Float32Array, inputs: RowSample): Promise<LayerAdjustments> {
    const head = this.#linear(LM_HEAD, inputs);
    const folded = await this.#foldNorm(FINAL_NORM, [head], norm);
    return { linears: new Map([[LM_HEAD, await this.#round(head)]]), norms: new Map([folded]) };
  }

  #linear(name: string, inputs: RowSample): Linear {
    const [rows, columns] = this.#tensor(name).shape as [number, number];
    return { name, inputs, input: new Float32Array(columns).fill(1), output: new Float32Array(rows).fill(1) };
  }

  #tensor(name: string): TensorLocation {
    return this.#model.tensors.get(name)!;
  }

  async #search(
    linears: readonly Linear[],
    more: { shared?: Int32Array; realise?: (factors: Float32Array) => Float32Array } = {},
  ): Promise<Float32Array> {
    const { groupSize, signal } = this.#options;
    signal?.throwIfAborted();
    const weights = linears.map(({ name }) => sampleRows(this.#tensor(name)));
    return searchInputScale(this.#kernels, { weights, inputs: linears[0]!.inputs, groupSize, ...more });
  }

  async #foldNorm(
    name: string,
    linears: readonly Linear[],
    norm = readTensorF32(this.#tensor(name)),
  ): Promise<[string, Uint16Array]> {
    const realise = (factors: Float32Array) => foldIntoNorm(norm, factors).factors;
    const found = await this.#search(linears, { realise });
    const { bits, factors } = foldIntoNorm(norm, found);
    for (const linear of linears) linear.input = factors;
    return [name, bits];
  }

  /** Column `head · headDim + d` of o_proj gets row `(head / group) · headDim + d` of v_proj. */
  async #foldValues(v: Linear, o: Linear): Promise<void> {
    const { attentionHeads, keyValueHeads, headDim } = this.#model.architecture.text;
    const group = attentionHeads / keyValueHeads;
    const shared = Int32Array.from(
      o.input,
      (_, column) => Math.floor(column / headDim / group) * headDim + (column % headDim),
    );
    o.input = await this.#search([o], { shared });
    shared.forEach((row, column) => {
      v.output[row] = o.input[column]!;
    });
  }

  async #round({ name, inputs, input, output }: Linear): Promise<LinearAdjustment> {
    const { groupSize, signal } = this.#options;
    const source = this.#tensor(name);
    const [rows, columns] = source.shape as [number, number];
    const groups = columns / groupSize;
    const grams = groupGrams(inputs, input, groupSize);
    const blockSize = columns % FEEDBACK_BLOCK === 0 ? FEEDBACK_BLOCK : groupSize;
    const factors = feedbackFactors(groupGrams(inputs, input, blockSize), blockSize);
    const groupScales = new Uint16Array(rows * groups);
    const packed = new Int32Array((rows * columns) / 8);
    const squares = new Float64Array(2);
    const rowsAtOnce = Math.max(1, Math.floor(CHUNK_ELEMENTS / columns));
    for (let first = 0; first < rows; first += rowsAtOnce) {
      signal?.throwIfAborted();
      const count = Math.min(rowsAtOnce, rows - first);
      const weights = adjustedRows(source, { first, count }, { input, output });
      const scales = await searchGroupScales(this.#kernels, weights, grams, groups, groupSize);
      if (scales === null) {
        throw damagedTensor(name, source.file);
      }
      groupScales.set(scales, first * groups);
      squares[1]! += sumOfSquares(weights);
      packed.set(roundWithFeedback(weights, scales, groupSize, columns, factors), (first * columns) / 8);
      squares[0]! += sumOfSquares(weights);
    }
    return { inputScale: input, outputScale: output, groupScales, packed, squares: Float32Array.from(squares) };
  }
}

function sumOfSquares(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum;
}

/** All rows, or so many evenly spread. */
function sampleRows(source: TensorLocation): Float32Array {
  const [rows, columns] = source.shape as [number, number];
  if (rows <= SEARCH_ROWS) return readTensorF32(source);
  const sample = new Float32Array(SEARCH_ROWS * columns);
  for (let i = 0; i < SEARCH_ROWS; i += 1) {
    sample.set(readTensorF32(source, { first: Math.floor((i * rows) / SEARCH_ROWS), count: 1 }), i * columns);
  }
  return sample;
}
