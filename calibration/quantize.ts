/** `scenebus quantize`: a 16- or 32-bit checkpoint folder to an int4 one, by rounding to nearest. */
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { type Logger, type OnProgress, silentLogger } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { LLAMA_NOTICE, llamaLicenseEvidence, requireLlamaTerms } from './llama-license.js';
import { indexOf, type LmHeadPrecision, planFiles, planTensors, quantizationConfig } from './quantize-plan.js';
import { type QuantizeTally, writeWeights } from './quantize-weights.js';

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
  /** Needed when the source is under the Llama Community License. */
  readonly acceptLlamaLicense?: boolean | undefined;
  /** Files are cut at this size. Default 4 GB. */
  readonly shardBytes?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly logger?: Logger | undefined;
}

export interface QuantizeResult extends QuantizeTally {
  readonly directory: string;
  readonly groupSize: number;
  readonly lmHead: LmHeadPrecision;
  /** Weights of the result; `sourceBytes` are those of the source. */
  readonly sizeBytes: number;
}

const SPARE_BYTES = 64 << 20;

/**
 * Quantises a checkpoint into another Hugging Face folder (compressed-tensors `pack-quantized`, readable by vLLM):
 * int4 linears of the text decoder; vision, projector, embeddings and norms in 16 bit. Tokenizer, templates, licences
 * and scenebus.json come along. Same source, same bytes. Memory stays bounded whatever the size of the model.
 *
 * @throws SdkError ERR_MODEL_* when the source is not sound; ERR_ARGUMENT_INVALID for a used folder or a group size that
 *   does not fit; ERR_LICENSE_NOT_ACCEPTED; ERR_DISK_FULL before the first byte where it can be known
 *
 * @example
 * await quantizeCheckpoint({ source: 'models/demo', output: 'models/demo-int4', groupSize: 128 });
 */
export async function quantizeCheckpoint(options: QuantizeOptions): Promise<QuantizeResult> {
  const { signal, groupSize = 128, lmHead = 'bf16', logger = silentLogger } = options;
  signal?.throwIfAborted();
  const output = resolve(options.output);
  requireOptions(groupSize, lmHead);
  await requireFreeFolder(output, resolve(options.source));
  const checkpoint = await openCheckpoint(options.source, { signal });
  if (checkpoint.model.int4 !== null) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `${checkpoint.directory} is quantised already: give its 16-bit source.`);
  }
  const evidence = await llamaLicenseEvidence(checkpoint.directory, checkpoint.name);
  if (evidence !== null) requireLlamaTerms(evidence, options.acceptLlamaLicense ?? false, output);

  const files = planFiles(planTensors(checkpoint.model, groupSize, lmHead), options.shardBytes ?? 4e9);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const parent = dirname(output);
  await mkdir(parent, { recursive: true });
  await requireDiskSpace(parent, sizeBytes + SPARE_BYTES);

  // Beside the output, so that the rename stays within one file system.
  const partialName = `.${basename(output)}.partial-`;
  await removeLeftovers(parent, partialName);
  const partial = join(parent, `${partialName}${process.pid}`);
  try {
    await mkdir(partial);
    await copyCompanions(checkpoint, partial, evidence !== null, logger);
    const tally = await writeWeights(files, partial, groupSize, sizeBytes, options);
    if (files.length > 1) await writeJson(join(partial, 'model.safetensors.index.json'), indexOf(files));
    await writeJson(join(partial, 'config.json'), await quantizedConfig(checkpoint, groupSize, lmHead));
    // The proof that it can be loaded, before anybody sees it.
    await openCheckpoint(partial, { signal });
    await rename(partial, output).catch(async (cause: unknown) => {
      await requireFreeFolder(output, checkpoint.directory); // somebody else was faster: say so
      throw cause;
    });
    return { directory: output, groupSize, lmHead, sizeBytes, ...tally };
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw diskFull(parent, sizeBytes, 0, error);
    throw error;
  }
}

function requireOptions(groupSize: number, lmHead: string): void {
  if (!(QUANTIZE_GROUP_SIZES as readonly number[]).includes(groupSize)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a group size of 32, 64 or 128, but received ${groupSize}.`);
  }
  if (lmHead !== 'bf16' && lmHead !== 'int4') {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected lm_head as bf16 or int4, but received ${lmHead}.`);
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

/** Work of this process or of one that was killed; a running one keeps its own. */
async function removeLeftovers(parent: string, partialName: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(partialName)) continue;
    const pid = Number(name.slice(partialName.length));
    if (pid === process.pid || !isRunning(pid)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
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
