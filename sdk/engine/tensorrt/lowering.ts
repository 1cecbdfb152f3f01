/**
 * The graphs of a checkpoint for TensorRT, and the weight files made for them, in one folder of the cache:
 * `<cache>/tensorrt/<key>/`. Plans are built into the same folder, so they go away with what they were built from.
 */
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { SdkError } from '../../core/errors.js';
import { weightsRoot } from '../../graph/index.js';
import { FIELDS, Message, readModel } from '../../graph/onnx.js';
import {
  DEFAULT_LOWERING,
  LOWERED_GRAPHS,
  LOWERING_VERSION,
  type LoweredGraphName,
  LoweredWeights,
  type LoweringManifest,
  type LoweringOptions,
  lowerModel,
  toPluginMode,
  type WeightsFile,
  writeWeightsFile,
} from '../../graph/tensorrt/index.js';
import type { Numerics } from '../engine.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { defaultCacheDirectory, preparedDirectory, preparedFiles } from '../shared/prepared-cache.js';

/** `plugin`: own kernels for the hot parts, weights shared by all engines. `native`: standard operators only. */
export type TensorRtMode = 'plugin' | 'native';

/** Images that the tokens of one step may look at together; more than that many in one call are taken step by step. */
export const IMAGES_OF_A_STEP = 2;

const MANIFEST = 'manifest.json';

export interface LowerOptions extends Pick<OpenEngineOptions, 'cacheDirectory' | 'onProgress' | 'logger' | 'signal'> {
  readonly mode: TensorRtMode;
  readonly numerics: Numerics;
  readonly contextLength: number;
  /** Element types; other than the default only for proofs on a processor. */
  readonly types?: Pick<LoweringOptions, 'decoderType' | 'visionType'> | undefined;
  /** Intermediate tensors as outputs. */
  readonly instrument?: boolean | undefined;
}

export interface LoweredCheckpoint {
  readonly directory: string;
  readonly manifest: LoweringManifest;
  readonly mode: TensorRtMode;
  /** ONNX file of a graph in this mode. */
  graphFile(name: LoweredGraphName): string;
  /** Weights that a graph takes as inputs in this mode, by name. */
  weightInputs(name: LoweredGraphName): readonly string[];
  /** Content of everything that graphs point at. */
  readonly weightsIdentity: string;
}

/**
 * Emits what is missing: graphs in seconds; scales in the decoder's type; in native mode also all int4 weights turned
 * around, which takes as much disk as the packed weights do.
 *
 * @throws SdkError ERR_MODEL_UNSUPPORTED a checkpoint that the lowering cannot express
 * @throws SdkError ERR_DISK_FULL, ERR_CONFIG_INVALID the cache cannot be written: TensorRT reads its graphs from files
 */
export async function lowerCheckpoint(checkpoint: EngineCheckpoint, options: LowerOptions): Promise<LoweredCheckpoint> {
  const { mode, numerics, contextLength, instrument = false, types = DEFAULT_LOWERING } = options;
  const { decoderType, visionType } = types;
  const cacheDirectory = path.resolve(options.cacheDirectory ?? defaultCacheDirectory());
  const contentHash = await checkpoint.contentHash();
  const taps = numerics === 'hf-5' ? 'outputs' : 'inputs';
  const chosen = { taps, instrument, capacity: contextLength, decoderType, visionType } as const;
  // Graphs hold the places of the weights; the same checkpoint in another folder is another entry.
  const locations = [...new Set([...checkpoint.model.tensors.values()].map((tensor) => tensor.file))];
  const key = [LOWERING_VERSION, IMAGES_OF_A_STEP, contentHash, locations, cacheDirectory, chosen];
  const place = { cacheDirectory, kind: 'tensorrt', key };
  const directory = preparedDirectory(place);
  await makeFolder(directory);

  const convertedFile = path.join(directory, 'converted.bin');
  const transposedFile = path.join(directory, 'transposed.bin');
  const lowering: LoweringOptions = {
    ...DEFAULT_LOWERING,
    ...chosen,
    maxImages: IMAGES_OF_A_STEP,
    convertedFile,
    transposedFile,
    weightsRoot: weightsRoot(checkpoint.model, convertedFile, transposedFile),
  };
  try {
    const files = await preparedFiles({ ...options, ...place }, () => emit(checkpoint, lowering));
    await requireOnDisk(directory);
    const made = new LoweredWeights(checkpoint.model, lowering);
    await makeWeights(made.converted, options);
    if (mode === 'native') await makeWeights(made.transposed, options);
    return {
      directory,
      manifest: JSON.parse(Buffer.from(files[MANIFEST]!).toString()) as LoweringManifest,
      mode,
      graphFile: (name) => path.join(directory, fileName(name, mode)),
      weightInputs: (name) => (mode === 'native' ? [] : addedInputs(files, name)),
      weightsIdentity: contentHash,
    };
  } catch (error) {
    options.signal?.throwIfAborted();
    throw loweringError(error, checkpoint, directory);
  }
}

function fileName(name: LoweredGraphName, mode: TensorRtMode): string {
  return mode === 'plugin' ? `${name}.plugin.onnx` : `${name}.onnx`;
}

function emit({ model }: EngineCheckpoint, lowering: LoweringOptions): Record<string, Uint8Array> {
  const { graphs, manifest } = lowerModel(model, lowering);
  const files: Record<string, Uint8Array> = { [MANIFEST]: Buffer.from(JSON.stringify(manifest)) };
  for (const name of LOWERED_GRAPHS) {
    files[fileName(name, 'native')] = graphs[name];
    files[fileName(name, 'plugin')] = toPluginMode(graphs[name]);
  }
  return files;
}

/** Inputs that plugin mode made of initialisers: those that the graph with bodies does not have. */
function addedInputs(files: Readonly<Record<string, Uint8Array>>, name: LoweredGraphName): string[] {
  const inputsOf = (mode: TensorRtMode) => {
    const [graph] = readModel(files[fileName(name, mode)]!).all(FIELDS.model.graph);
    const inputs = new Message(graph!.bytes()).all(FIELDS.graph.input);
    return inputs.map((input) => new Message(input.bytes()).string(FIELDS.valueInfo.name));
  };
  const before = new Set(inputsOf('native'));
  return inputsOf('plugin').filter((input) => !before.has(input));
}

async function makeWeights(target: WeightsFile, { signal, onProgress }: LowerOptions): Promise<void> {
  if (target.sizeBytes === 0 || (await sizeOf(target.file)) === target.sizeBytes) return;
  const report = (done: number, total: number) =>
    onProgress?.({ phase: `prepare ${path.basename(target.file)}`, done, total, unit: 'bytes' });
  await writeWeightsFile(target, { signal, onProgress: report });
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    ({ size }) => size,
    () => undefined,
  );
}

/** Weight files are written beside the graphs, and where they lie is part of the graphs. */
async function makeFolder(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true }).catch((error: unknown) => {
    throw cacheError(error, directory);
  });
}

/** `preparedFiles` goes on without a disk; TensorRT does not. */
async function requireOnDisk(directory: string): Promise<void> {
  if ((await sizeOf(path.join(directory, MANIFEST))) === undefined) {
    throw cacheError(new Error('the graphs could not be kept there'), directory);
  }
}

function loweringError(error: unknown, checkpoint: EngineCheckpoint, directory: string): unknown {
  if (error instanceof SdkError || !(error instanceof Error)) return error;
  if ('code' in error && typeof error.code === 'string') return cacheError(error, directory);
  if (!(error instanceof TypeError) && !(error instanceof RangeError)) return error;
  return new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `${checkpoint.name} cannot be written as graphs for TensorRT: ${error.message}. Use the cpu backend, or quantise the model with \`scenebus quantize\`.`,
    { cause: error },
  );
}

function cacheError(error: unknown, directory: string): SdkError {
  const reason = error instanceof Error ? error.message : String(error);
  const isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
  return new SdkError(
    isFull ? 'ERR_DISK_FULL' : 'ERR_CONFIG_INVALID',
    `Expected to write graphs and plans of TensorRT into ${directory} (${reason}). ${isFull ? 'Make room there' : 'Make it writable'}, or choose another cacheDirectory.`,
    { cause: error, details: { directory } },
  );
}
