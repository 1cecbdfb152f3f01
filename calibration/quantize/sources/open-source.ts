/** A folder to make another from: plain weights, or those of a format that is converted. */
import { resolve } from 'node:path';
import type { MllamaArchitecture, TensorDtype, TensorLocation } from '#sdk/architecture/architecture.js';
import { hashOf, nameOf, readConfig, tiedHead } from '#sdk/checkpoint/checkpoint.js';
import { architectureOf, type MllamaConfig } from '#sdk/checkpoint/config.js';
import { type ExpectedTensor, expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import {
  type ConvertibleFormat,
  foreignFormatError,
  foreignFormatOf,
  mlxQuantization,
  statedQuantization,
} from '#sdk/checkpoint/foreign-format.js';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import { readManifest } from '#sdk/checkpoint/manifest.js';
import { type Quantization, quantizationOf } from '#sdk/checkpoint/quantization.js';
import { readWeights, type Weights } from '#sdk/checkpoint/shards.js';
import { publishedTensorName } from '#sdk/checkpoint/tensor-names.js';
import { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';
import { awqLinear, compressedLinear, gptqLinear, LayoutProblem, mlxLinear, type Sibling } from './formats.js';
import { patchEmbeddingOfMlx } from './mlx-convolution.js';
import { type PackedLinear, packedTensor } from './packed-linear.js';
import { type SourceTensor, storedTensor } from './source-tensor.js';

export interface Source {
  /** Absolute. */
  readonly directory: string;
  readonly name: string;
  readonly architecture: MllamaArchitecture;
  /** By published names, in the order of the architecture. */
  readonly tensors: ReadonlyMap<string, SourceTensor>;
  /** Sentences for people. */
  readonly warnings: readonly string[];
  /** Plain weights that engines can run; null for a format that is converted. */
  readonly checkpoint: Checkpoint | null;
  contentHash(): Promise<string>;
}

export type SourceFormat = ConvertibleFormat | 'auto';

/** @throws SdkError ERR_MODEL_*; ERR_ARGUMENT_INVALID for weights that are quantised by this product already */
export async function openPlainSource(directory: string, options: CallOptions): Promise<Source> {
  const checkpoint = await openCheckpoint(directory, options);
  if (checkpoint.model.int4 !== null) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `${checkpoint.directory} is quantised already: give its 16-bit source.`);
  }
  const { model, name, warnings } = checkpoint;
  const tensors = new Map([...model.tensors].map(([tensor, location]) => [tensor, storedTensor(location)]));
  const contentHash = () => checkpoint.contentHash();
  const { architecture } = model;
  return { directory: checkpoint.directory, name, architecture, tensors, warnings, checkpoint, contentHash };
}

/**
 * A folder that another tool quantised or rearranged, as float tensors.
 * @param format `auto`: what the folder says it is
 * @throws SdkError ERR_MODEL_UNSUPPORTED for a format that is not converted, ERR_ARGUMENT_INVALID for another than was
 * said, ERR_MODEL_INVALID with `details.problems`
 */
export async function openForeignSource(
  directory: string,
  format: SourceFormat,
  options: CallOptions,
): Promise<Source> {
  options.signal?.throwIfAborted();
  const root = resolve(directory);
  const config = await readConfig(root, directory);
  const { architecture, problems } = architectureOf(config);
  const weights = await readWeights(root);
  problems.push(...weights.problems);
  const found = foreignFormatOf(config, weights.tensors.keys());
  const actual =
    found === null ? (statedQuantization(config) === null ? null : 'compressed-tensors') : found.convertible;
  if (found !== null && found.convertible === null) throw foreignFormatError(root, found);
  if (actual === null || (format !== 'auto' && format !== actual)) {
    const is = found?.name ?? (actual === null ? 'plain weights, which need no --from' : actual);
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a folder in the format ${format}, but ${root} has ${is}.`, {
      details: { directory: root, expected: format, actual },
    });
  }
  const located = locate(weights, actual, problems);
  const reader = readerOf(actual, config, located, architecture);
  const tensors = new Map<string, SourceTensor>();
  for (const expected of expectedTensors(architecture)) {
    options.signal?.throwIfAborted();
    try {
      tensors.set(expected.name, read(expected, located, reader, tiedHead(config).allowed));
    } catch (error) {
      if (!(error instanceof LayoutProblem)) throw error;
      problems.push(`${expected.name.replace(/\.weight$/, '')}: ${error.message}`);
    }
  }
  if (problems.length > 0) {
    const shown = problems.slice(0, 20).map((problem) => `  - ${problem}`);
    const more = problems.length > 20 ? [`  … and ${problems.length - 20} more (details.problems has all)`] : [];
    throw new SdkError(
      'ERR_MODEL_INVALID',
      [`${root} cannot be read as ${actual}; ${problems.length} problems:`, ...shown, ...more].join('\n'),
      { details: { directory: root, problems } },
    );
  }
  return {
    directory: root,
    name: nameOf(root, config, await readManifest(root)),
    architecture,
    tensors,
    warnings: weights.warnings,
    checkpoint: null,
    contentHash: () => hashOf(config, weights.files),
  };
}

interface Located {
  readonly locations: ReadonlyMap<string, TensorLocation>;
  /** By published name, the name in the file. */
  readonly rawNames: ReadonlyMap<string, string>;
}

/** Tensors by published names; those of MLX have another word for the vision tower. */
function locate(weights: Weights, format: ConvertibleFormat, problems: string[]): Located {
  const locations = new Map<string, TensorLocation>();
  const rawNames = new Map<string, string>();
  for (const [raw, { file, entry }] of weights.tensors) {
    const name = publishedTensorName(format === 'mlx' ? raw.replace(/(^|\.)vision_tower\./, '$1vision_model.') : raw);
    if (name === null) continue;
    const other = rawNames.get(name);
    if (other !== undefined) {
      problems.push(`tensors ${other} and ${raw} are the same tensor under two names`);
      continue;
    }
    const { dtype, shape, offsetBytes, sizeBytes } = entry;
    rawNames.set(name, raw);
    locations.set(name, { file: file.path, dtype: dtype as TensorDtype, shape, offsetBytes, sizeBytes });
  }
  return { locations, rawNames };
}

/** Reads a module `[N, K]` that is packed; undefined for one that is not. */
type ModuleReader = (
  module: string,
  shape: { outputs: number; inputs: number },
  find: Sibling,
) => PackedLinear | undefined;

function readerOf(
  format: ConvertibleFormat,
  config: MllamaConfig,
  { rawNames }: Located,
  { vision }: MllamaArchitecture,
): ModuleReader & { readonly patchSize?: number } {
  const stated = statedQuantization(config);
  const groupSize = Number(stated?.group_size ?? 128);
  switch (format) {
    case 'gptq': {
      const version = stated?.checkpoint_format === 'gptq_v2' ? 2 : 1;
      return (_, shape, find) => find('qweight') && gptqLinear(shape, find, { groupSize, version });
    }
    case 'awq':
      return (_, shape, find) => find('qweight') && awqLinear(shape, find, { groupSize });
    case 'mlx': {
      const quantization = mlxQuantization(config) ?? {};
      const reader: ModuleReader = (module, shape, find) => {
        if (find('scales') === undefined) return undefined;
        const raw = rawNames.get(`${module}.weight`)?.replace(/\.weight$/, '') ?? module;
        const own = (Object.hasOwn(quantization, raw) ? quantization[raw] : {}) as {
          bits?: number;
          group_size?: number;
        };
        const bits = own.bits ?? Number(quantization.bits);
        return mlxLinear(shape, find, { bits, groupSize: own.group_size ?? Number(quantization.group_size) });
      };
      return Object.assign(reader, { patchSize: vision.patchSize });
    }
    case 'compressed-tensors': {
      const quantization: Quantization | null = quantizationOf(stated, 'convert');
      return (module, shape, find) => {
        if (find('weight_packed') === undefined) return undefined;
        const raw = rawNames.get(`${module}.weight_packed`)?.replace(/\.weight_packed$/, '') ?? module;
        const scheme = quantization?.schemeOf([raw, module]);
        if (scheme === undefined)
          throw new LayoutProblem('weight_packed exists, but no target of quantization_config names it');
        return compressedLinear(shape, find, { ...scheme, asymmetric: scheme.asymmetric === true });
      };
    }
  }
}

const FLOATS = ['F32', 'F16', 'BF16'];
const HEAD = 'language_model.lm_head.weight';
const EMBEDDINGS = 'language_model.model.embed_tokens.weight';

function read(
  { name, shape }: ExpectedTensor,
  { locations }: Located,
  reader: ModuleReader & { readonly patchSize?: number },
  mayBeTied: boolean,
): SourceTensor {
  const module = name.replace(/\.weight$/, '');
  if (shape.length === 2 && name.endsWith('.weight')) {
    const [outputs, inputs] = shape as [number, number];
    const linear = reader(module, { outputs, inputs }, (suffix) => locations.get(`${module}.${suffix}`));
    if (linear !== undefined) return packedTensor(linear);
  }
  const location = locations.get(name);
  if (location === undefined) {
    const table = locations.get(EMBEDDINGS);
    if (name === HEAD && mayBeTied && table !== undefined && FLOATS.includes(table.dtype)) {
      const sizeBytes = (table.sizeBytes / table.shape[0]!) * shape[0]!;
      return storedTensor({ ...table, shape, sizeBytes });
    }
    throw new LayoutProblem(`tensor [${shape.join(', ')}] is missing`);
  }
  if (!FLOATS.includes(location.dtype))
    throw new LayoutProblem(`expected ${FLOATS.join(' or ')}, the file has ${location.dtype}`);
  if (JSON.stringify(location.shape) === JSON.stringify(shape)) return storedTensor(location);
  if (reader.patchSize !== undefined && shape.length === 4) {
    const [outputs, channels, height, width] = shape as [number, number, number, number];
    if (JSON.stringify(location.shape) === JSON.stringify([outputs, height, width, channels])) {
      return patchEmbeddingOfMlx(location, shape);
    }
  }
  throw new LayoutProblem(`config.json implies [${shape.join(', ')}], the file has [${location.shape.join(', ')}]`);
}
