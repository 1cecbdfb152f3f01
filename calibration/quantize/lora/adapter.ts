/** LoRA adapters of PEFT, and a source with one merged in: `W + scale · B·A`, in float32. */
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import type { MllamaArchitecture, TensorDtype, TensorLocation } from '#sdk/architecture/architecture.js';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, type AdapterConfig, findAdapter } from '#sdk/checkpoint/adapter.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { readSafetensorsHeader, readTensorF32 } from '#sdk/checkpoint/index.js';
import { NamePatterns } from '#sdk/checkpoint/name-patterns.js';
import { samplePayload } from '#sdk/checkpoint/payload-sample.js';
import { publishedTensorName } from '#sdk/checkpoint/tensor-names.js';
import { SdkError } from '#sdk/core/errors.js';
import type { Source } from '../sources/open-source.js';
import { type FloatType, rowElements, type SourceTensor, storedTensor } from '../sources/source-tensor.js';

/** What is added to one weight `[N, K]`. */
export interface LowRank {
  /** `[r, K]`. */
  readonly a: TensorLocation;
  /** `[N, r]`. */
  readonly b: TensorLocation;
  readonly rank: number;
  readonly scale: number;
  /** Of an embedding table PEFT stores both parts transposed: `a` `[r, N]`, `b` `[K, r]`. */
  readonly isEmbedding: boolean;
}

export interface Adapter {
  readonly directory: string;
  readonly config: AdapterConfig;
  /** By published name of the weight. */
  readonly deltas: ReadonlyMap<string, LowRank>;
  /** `modules_to_save` and trained biases: tensors that take the place of the base's. */
  readonly replaced: ReadonlyMap<string, TensorLocation>;
  readonly contentHash: string;
}

/**
 * @throws SdkError ERR_MODEL_NOT_FOUND without adapter_config.json or adapter_model.safetensors; ERR_MODEL_UNSUPPORTED for
 * another kind of adapter (DoRA, IA³ …); ERR_MODEL_INVALID with `details.problems` for tensors that do not fit the base
 */
export async function openAdapter(directory: string, architecture: MllamaArchitecture): Promise<Adapter> {
  const root = resolve(directory);
  const found = await findAdapter(root);
  if (found === null || !found.hasWeights) {
    const missing = found === null ? ADAPTER_CONFIG : ADAPTER_WEIGHTS;
    throw new SdkError('ERR_MODEL_NOT_FOUND', `Expected ${missing} of a LoRA adapter in ${root}, but there is none.`, {
      details: { directory: root },
    });
  }
  const { config } = found;
  requireLora(root, config);
  const file = await readSafetensorsHeader(join(root, ADAPTER_WEIGHTS));
  const locations = new Map<string, TensorLocation>();
  for (const { name, dtype, shape, offsetBytes, sizeBytes } of file.entries) {
    locations.set(name, { file: file.path, dtype: dtype as TensorDtype, shape, offsetBytes, sizeBytes });
  }
  const contentHash = createHash('sha256')
    .update(JSON.stringify(config))
    .update(file.headerHash)
    .update(await samplePayload([file]))
    .digest('hex');
  return adapterFrom(root, config, locations, architecture, contentHash);
}

/**
 * @param locations by the names of the file
 * @throws SdkError as `openAdapter`
 */
export function adapterFrom(
  root: string,
  config: AdapterConfig,
  locations: ReadonlyMap<string, TensorLocation>,
  architecture: MllamaArchitecture,
  contentHash: string,
): Adapter {
  requireLora(root, config);
  const parts = readParts(locations, config, architecture);
  if (parts.problems.length > 0) {
    const shown = parts.problems.slice(0, 20).map((problem) => `  - ${problem}`);
    throw new SdkError(
      'ERR_MODEL_INVALID',
      [`${root} does not fit the base model; ${parts.problems.length} problems:`, ...shown].join('\n'),
      { details: { directory: root, problems: parts.problems } },
    );
  }
  return { directory: root, config, deltas: parts.deltas, replaced: parts.replaced, contentHash };
}

function requireLora(directory: string, config: AdapterConfig): void {
  const other =
    config.peft_type !== 'LORA'
      ? `of the kind ${config.peft_type}`
      : config.use_dora === true
        ? 'with magnitudes (use_dora)'
        : config.fan_in_fan_out === true
          ? 'for transposed weights (fan_in_fan_out)'
          : undefined;
  if (other === undefined) return;
  throw new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `Expected a LoRA adapter, but ${directory} has one ${other}: merge it with PEFT's merge_and_unload() and give the result.`,
    { details: { directory, peftType: config.peft_type } },
  );
}

interface Parts {
  readonly deltas: Map<string, LowRank>;
  readonly replaced: Map<string, TensorLocation>;
  readonly problems: string[];
}

const FLOATS = ['F32', 'F16', 'BF16'];
const PART = /^(?<module>.+)\.lora_(?<embedding>embedding_)?(?<part>[AB])(?:\.[^.]+?)??(?:\.weight)?$/;

function readParts(
  locations: ReadonlyMap<string, TensorLocation>,
  config: AdapterConfig,
  architecture: MllamaArchitecture,
): Parts {
  const expected = new Map(expectedTensors(architecture).map(({ name, shape }) => [name, shape]));
  const result: Parts = { deltas: new Map(), replaced: new Map(), problems: [] };
  const { problems } = result;
  const scaleOf = scaling(config);
  const pairs = new Map<string, { module: string; isEmbedding: boolean; a?: TensorLocation; b?: TensorLocation }>();
  for (const [raw, location] of locations) {
    if (!FLOATS.includes(location.dtype)) {
      problems.push(`${raw}: expected ${FLOATS.join(' or ')}, the file has ${location.dtype}`);
      continue;
    }
    const plain = raw.replace(/^base_model\.model\./, '');
    const groups = PART.exec(plain)?.groups;
    if (groups !== undefined) {
      const module = groups.module!;
      const pair = pairs.get(module) ?? { module, isEmbedding: groups.embedding !== undefined };
      pair[groups.part === 'A' ? 'a' : 'b'] = location;
      pairs.set(module, pair);
      continue;
    }
    const name = publishedTensorName(plain.replace(/\.(modules_to_save\.[^.]+|base_layer)\./, '.'));
    const shape = name === null ? undefined : expected.get(name);
    if (name === null || shape === undefined) problems.push(`${raw} belongs to nothing in the base model`);
    else if (!equal(location.shape, shape)) problems.push(misfit(raw, shape, location));
    else result.replaced.set(name, location);
  }
  for (const { module, isEmbedding, a, b } of pairs.values()) {
    const name = publishedTensorName(`${module}.weight`);
    const shape = name === null ? undefined : expected.get(name);
    if (name === null || shape?.length !== 2) problems.push(`${module}: the base model has no such linear`);
    else if (a === undefined || b === undefined)
      problems.push(`${module}: lora_${a === undefined ? 'A' : 'B'} is missing`);
    else {
      const rank = a.shape[0] ?? 0;
      const [outputs, inputs] = shape as [number, number];
      const shapes = isEmbedding
        ? [
            [rank, outputs],
            [inputs, rank],
          ]
        : [
            [rank, inputs],
            [outputs, rank],
          ];
      const { stated, scale } = scaleOf(module, rank);
      if (!equal(a.shape, shapes[0]!)) problems.push(misfit(`${module} lora_A`, shapes[0]!, a));
      else if (!equal(b.shape, shapes[1]!)) problems.push(misfit(`${module} lora_B`, shapes[1]!, b));
      else if (stated !== rank)
        problems.push(`${module}: adapter_config.json states rank ${stated}, the file has ${rank}`);
      else result.deltas.set(name, { a, b, rank, scale, isEmbedding });
    }
  }
  if (result.deltas.size === 0 && result.replaced.size === 0 && problems.length === 0)
    problems.push('it has no tensors');
  return result;
}

/** alpha / r, or alpha / √r; patterns name modules by the end of their name, as PEFT matches them. */
function scaling(config: AdapterConfig): (module: string, rank: number) => { stated: number; scale: number } {
  const lookUp = (values: Readonly<Record<string, number>> | null | undefined, fallback: number) => {
    const entries = Object.entries(values ?? {});
    if (entries.length === 0) return () => fallback;
    const patterns = new NamePatterns(entries.map(([key]) => `(.*\\.)?(${key})$`));
    return (module: string) => entries[patterns.first([module])]?.[1] ?? fallback;
  };
  const ranks = lookUp(config.rank_pattern, config.r);
  const alphas = lookUp(config.alpha_pattern, config.lora_alpha);
  return (module, rank) => {
    const alpha = alphas(module);
    return { stated: ranks(module), scale: config.use_rslora === true ? alpha / Math.sqrt(rank) : alpha / rank };
  };
}

/** The source with the adapter merged in. */
export function withAdapter(source: Source, adapter: Adapter): Source {
  const tensors = new Map<string, SourceTensor>();
  for (const [name, tensor] of source.tensors) {
    const replacement = adapter.replaced.get(name);
    const base = replacement === undefined ? tensor : replacedBy(tensor, replacement);
    const delta = adapter.deltas.get(name);
    tensors.set(name, delta === undefined ? base : merged(base, delta));
  }
  return {
    ...source,
    tensors,
    checkpoint: null,
    warnings: source.warnings.filter((warning) => !warning.startsWith(ADAPTER_CONFIG)),
  };
}

/** In the type of the base: a model has one. */
function replacedBy(base: SourceTensor, location: TensorLocation): SourceTensor {
  const stored = storedTensor(location);
  return stored.dtype === base.dtype ? stored : { ...stored, dtype: base.dtype, location: undefined };
}

function merged(base: SourceTensor, { a, b, rank, scale, isEmbedding }: LowRank): SourceTensor {
  const inputs = rowElements(base);
  /** `[r, K]` and rows of `[N, r]`, however they are stored. */
  const read = (first: number, count: number): { left: Float32Array; right: Float32Array } => {
    if (!isEmbedding) return { left: readTensorF32(b, { first, count }), right: readTensorF32(a) };
    const [storedA, storedB] = [readTensorF32(a), readTensorF32(b)];
    const outputs = a.shape[1]!;
    const left = new Float32Array(count * rank);
    for (let row = 0; row < count; row += 1) {
      for (let i = 0; i < rank; i += 1) left[row * rank + i] = storedA[i * outputs + first + row]!;
    }
    const right = new Float32Array(rank * inputs);
    for (let k = 0; k < inputs; k += 1)
      for (let i = 0; i < rank; i += 1) right[i * inputs + k] = storedB[k * rank + i]!;
    return { left, right };
  };
  const rows = (first: number, count: number): Float32Array => {
    const values = base.rows(first, count);
    const { left, right } = read(first, count);
    const sums = new Float64Array(inputs);
    for (let row = 0; row < count; row += 1) {
      // Summed in float64 and rounded once: what float32 can hold of the exact result.
      sums.fill(0);
      for (let i = 0; i < rank; i += 1) {
        const factor = left[row * rank + i]!;
        for (let k = 0; k < inputs; k += 1) sums[k]! += factor * right[i * inputs + k]!;
      }
      for (let k = 0; k < inputs; k += 1) values[row * inputs + k] = values[row * inputs + k]! + scale * sums[k]!;
    }
    return values;
  };
  const { shape, dtype, sizeBytes, file } = base;
  return { shape, dtype: dtype as FloatType, sizeBytes: sizeBytes + a.sizeBytes + b.sizeBytes, file, rows };
}

function equal(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((side, i) => side === b[i]);
}

function misfit(name: string, shape: readonly number[], { shape: found }: TensorLocation): string {
  return `${name}: the base model implies [${shape.join(', ')}], the file has [${found.join(', ')}]`;
}
