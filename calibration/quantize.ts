/** `scenebus quantize`: a 16- or 32-bit checkpoint folder to an int4 one, by rounding to nearest or calibrated (AWQ). */
import { copyFile, mkdir, readdir, readFile, rename, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import type { ModelDescription } from '#graph/architecture.js';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { type Logger, type OnProgress, silentLogger } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { LLAMA_EU_NOTICE, LLAMA_NOTICE, llamaLicenseEvidence, requireLlamaTerms } from './llama-license.js';
import { calibrate } from './quantize/awq.js';
import type { CalibrationScene } from './quantize/calibration-samples.js';
import { calibrationScenes, pictureDigests } from './quantize/calibration-set.js';
import { picturesBytes } from './quantize/picture-states.js';
import { WorkFolder } from './quantize/work-folder.js';
import {
  indexOf,
  LM_HEAD_PRECISIONS,
  type LmHeadPrecision,
  type OutputFile,
  planFiles,
  planTensors,
  type QuantizeMethod,
  quantizationConfig,
} from './quantize-plan.js';
import { type QuantizeTally, writeWeights } from './quantize-weights.js';
import { tensorBytes } from './safetensors-writer.js';

export const QUANTIZE_GROUP_SIZES = [32, 64, 128] as const;

export interface QuantizeOptions extends CallOptions {
  /** Checkpoint folder in bf16, f16 or f32. It is only read. */
  readonly source: string;
  /** Folder to make; must not exist, or be empty. Appears whole or not at all. */
  readonly output: string;
  /** Weights that share a scale. Default 128. */
  readonly groupSize?: (typeof QUANTIZE_GROUP_SIZES)[number] | undefined;
  /** Default bf16: the head decides close calls, and is a small part of a large model. */
  readonly lmHead?: LmHeadPrecision | undefined;
  /** `rtn` (default): rounding to nearest. `awq`: activation-aware, calibrated with pictures. */
  readonly method?: QuantizeMethod | undefined;
  /**
   * For `awq`: a folder of pictures, or a `.jsonl` file of pictures with prompts and answers (see `readCalibration`), or
   * scenes that are ready. Default: `evaluation/scenes.jsonl` beside the source, as the demo model has it.
   */
  readonly calibrate?: string | readonly CalibrationScene[] | undefined;
  /** For `awq`. Default: the number of physical cores. */
  readonly threads?: number | undefined;
  /** Needed when the source is under the Llama Community License. */
  readonly acceptLlamaLicense?: boolean | undefined;
  /** Asked when the source is under that licence and `acceptLlamaLicense` is not set: whether a person accepts it. */
  readonly confirmLlamaLicense?: ((notice: string) => Promise<boolean>) | undefined;
  /** Files are cut at this size. Default 4 GB. */
  readonly shardBytes?: number | undefined;
  /** How much may be lost to a kill. Default 64 MiB. */
  readonly journalBytes?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly logger?: Logger | undefined;
}

export interface QuantizeResult extends QuantizeTally {
  readonly directory: string;
  readonly method: QuantizeMethod;
  readonly groupSize: number;
  readonly lmHead: LmHeadPrecision;
  /** Weights of the result; `sourceBytes` are those of the source. */
  readonly sizeBytes: number;
}

const SPARE_BYTES = 64 << 20;
/** Raise when other bytes come out: work that an older version left is then not taken up. */
const QUANTIZER_VERSION = 4;

/**
 * Quantises a checkpoint into another Hugging Face folder (compressed-tensors `pack-quantized`, readable by vLLM):
 * int4 linears of the text decoder, lm_head as wished; vision, projector, embeddings and norms in 16 bit. Tokenizer, templates, licences
 * and scenebus.json come along. Same source and options, same bytes. Memory stays bounded whatever the size of the
 * model. After a kill or an abort the same call goes on where it was; any other failure leaves nothing.
 *
 * @throws SdkError ERR_MODEL_* when the source is not sound; ERR_ARGUMENT_INVALID for a used folder, a group size that
 *   does not fit, or no calibration pictures; ERR_LICENSE_NOT_ACCEPTED; ERR_DISK_FULL, before the first byte where it
 *   can be known; ERR_PREPARE_LOCKED when another process makes the same output
 *
 * @example
 * await quantizeCheckpoint({ source: 'models/demo', output: 'models/demo-int4', groupSize: 128 });
 */
export async function quantizeCheckpoint(options: QuantizeOptions): Promise<QuantizeResult> {
  const { signal, groupSize = 128, lmHead = 'bf16', method = 'rtn', logger = silentLogger } = options;
  signal?.throwIfAborted();
  const output = resolve(options.output);
  requireOptions(groupSize, lmHead, method);
  await requireFreeFolder(output, resolve(options.source));
  const checkpoint = await openCheckpoint(options.source, { signal });
  if (checkpoint.model.int4 !== null) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `${checkpoint.directory} is quantised already: give its 16-bit source.`);
  }
  const evidence = await llamaLicenseEvidence(checkpoint.directory, checkpoint.name);
  if (evidence !== null) {
    const notice = `The source is under the Llama Community License (${evidence}). ${LLAMA_EU_NOTICE}`;
    logger.log('warn', notice);
    const accepted = options.acceptLlamaLicense ?? (await options.confirmLlamaLicense?.(notice)) ?? false;
    requireLlamaTerms(evidence, accepted, output);
  }

  const shardBytes = options.shardBytes ?? 4e9;
  const files = planFiles(planTensors(checkpoint.model, groupSize, lmHead, method), shardBytes);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const scenes = method === 'awq' ? await calibrationScenes(checkpoint, options.calibrate) : [];
  const pictures = await pictureDigests(scenes, options);
  const calibrated = scenes.map(({ samples }, index) => [
    pictures[index],
    samples.map(({ tokens, imageTokenIndex }) => [imageTokenIndex, ...tokens]),
  ]);
  const content = await checkpoint.contentHash();
  const key = JSON.stringify([QUANTIZER_VERSION, content, groupSize, lmHead, method, shardBytes, calibrated]);
  const parent = dirname(output);
  await mkdir(parent, { recursive: true });
  const work = await WorkFolder.open(output, key);
  try {
    const neededBytes = sizeBytes + SPARE_BYTES + calibrationBytes(checkpoint.model, files, scenes.length);
    const presentBytes = (await bytesIn(work.result)) + (await bytesIn(work.calibration));
    await requireDiskSpace(parent, neededBytes - presentBytes);
    await copyCompanions(checkpoint, work.result, evidence !== null, logger);
    const adjustments =
      method === 'awq'
        ? await calibrate(checkpoint, scenes, { ...options, groupSize, lmHead, workDirectory: work.calibration })
        : new Map();
    const journalFile = join(work.path, 'journal.json');
    const weightOptions = { ...options, groupSize, totalBytes: sizeBytes, adjustments, journalFile };
    const tally = await writeWeights(files, work.result, weightOptions);
    if (files.length > 1) await writeJson(join(work.result, 'model.safetensors.index.json'), indexOf(files));
    await writeJson(join(work.result, 'config.json'), await quantizedConfig(checkpoint, groupSize, lmHead));
    // The proof that it can be loaded, before anybody sees it.
    await openCheckpoint(work.result, { signal });
    await rename(work.result, output).catch(async (cause: unknown) => {
      await requireFreeFolder(output, checkpoint.directory); // somebody else was faster: say so
      throw cause;
    });
    await work.remove();
    return { directory: output, method, groupSize, lmHead, sizeBytes, ...tally };
  } catch (error) {
    if (signal?.aborted === true) await work.keep();
    else await work.remove();
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw diskFull(parent, sizeBytes, 0, error);
    throw error;
  }
}

/** What calibration writes at most before the weights: what the pictures became, and the linears it decided. */
function calibrationBytes(model: ModelDescription, files: readonly OutputFile[], pictures: number): number {
  if (pictures === 0) return 0;
  const decided = files
    .flatMap(({ tensors }) => tensors)
    .filter(({ part, bits }) => bits === 4 && (part === 'packed' || part === 'scale'))
    .reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  return decided + picturesBytes(model.architecture, pictures);
}

async function bytesIn(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(folder)) sum += (await stat(join(folder, name))).size;
  return sum;
}

function requireOptions(groupSize: number, lmHead: string, method: string): void {
  if (!(QUANTIZE_GROUP_SIZES as readonly number[]).includes(groupSize)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a group size of 32, 64 or 128, but received ${groupSize}.`);
  }
  if (!(LM_HEAD_PRECISIONS as readonly string[]).includes(lmHead)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected lm_head as bf16, int8 or int4, but received ${lmHead}.`);
  }
  if (method !== 'rtn' && method !== 'awq') {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected the method rtn or awq, but received ${method}.`);
  }
}

async function requireFreeFolder(output: string, source: string): Promise<void> {
  const fromSource = relative(source, output);
  if (fromSource === '' || !fromSource.startsWith('..')) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `The output ${output} lies in the source ${source}: choose a folder beside it.`,
    );
  }
  const entries = await readdir(output).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new SdkError('ERR_ARGUMENT_INVALID', `The output ${output} is not a folder that can be made.`, {
      cause: error,
    });
  });
  if (entries.length > 0) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `The output ${output} exists and is not empty: remove it or choose another.`,
    );
  }
}

async function requireDiskSpace(directory: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize < neededBytes) throw diskFull(directory, neededBytes, bavail * bsize);
}

function diskFull(directory: string, neededBytes: number, freeBytes: number, cause?: unknown): SdkError {
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);
  return new SdkError(
    'ERR_DISK_FULL',
    `Quantising needs ${gigabytes(neededBytes)} GB in ${directory}, but ${gigabytes(freeBytes)} GB are free. Make room or choose another disk.`,
    { cause, details: { directory, neededBytes, freeBytes } },
  );
}

/** Everything beside the weights and config.json: tokenizer, templates, processor, licences, scenebus.json. */
async function copyCompanions(checkpoint: Checkpoint, target: string, isLlama: boolean, logger: Logger): Promise<void> {
  const names = (await readdir(checkpoint.directory)).sort();
  for (const name of names) {
    if (name.startsWith('.') || name === 'config.json') continue;
    if (
      /\.(safetensors|safetensors\.index\.json|bin|bin\.index\.json|pth|pt|ckpt|gguf|h5|msgpack|onnx|onnx_data)$/.test(
        name,
      )
    ) {
      continue;
    }
    const path = join(checkpoint.directory, name);
    if ((await stat(path)).isFile()) await copyFile(path, join(target, name));
  }
  if (!isLlama) return;
  if (!names.some((name) => /^licen[cs]e/i.test(name))) {
    logger.log('warn', 'The source has no licence file; the Llama licence asks to hand its text on with the weights.');
  }
  if (!names.some((name) => /^use_policy/i.test(name))) {
    logger.log('warn', 'The source has no USE_POLICY file; the Llama licence asks users to follow that policy.');
  }
  if (!names.includes('NOTICE')) await writeFile(join(target, 'NOTICE'), LLAMA_NOTICE);
}

async function quantizedConfig(checkpoint: Checkpoint, groupSize: number, lmHead: LmHeadPrecision): Promise<unknown> {
  const config = JSON.parse(await readFile(join(checkpoint.directory, 'config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  // Float32 tensors became bfloat16; both spellings of the field are in use.
  for (const part of [config, config.text_config, config.vision_config] as (Record<string, unknown> | undefined)[]) {
    for (const key of ['torch_dtype', 'dtype']) if (part?.[key] === 'float32') part[key] = 'bfloat16';
  }
  return { ...config, quantization_config: quantizationConfig(groupSize, lmHead) };
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
