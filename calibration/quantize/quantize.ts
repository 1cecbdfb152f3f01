/** `scenebus quantize`: a 16- or 32-bit checkpoint folder to an int4 one, by rounding to nearest or calibrated (AWQ). */
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import { isSdkError, SdkError } from '#sdk/core/errors.js';
import { type Logger, type OnProgress, silentLogger } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { calibrate } from './awq.js';
import type { CalibrationScene } from './calibration-samples.js';
import { calibrationScenes, pictureDigests } from './calibration-set.js';
import { copyCompanions } from './companions.js';
import { diskError, type NeededRoom, requireRoom } from './disk-room.js';
import { parseKeepingNumbers, stringifyKeepingNumbers } from './json-text.js';
import { LLAMA_EU_NOTICE, llamaLicenseEvidence, requireAcceptance, requireLlamaName } from './llama-license.js';
import { mountPoint, realPlace, requireFreeFolder } from './output-place.js';
import { picturesBytes } from './picture-states.js';
import {
  indexOf,
  LM_HEAD_PRECISIONS,
  type LmHeadPrecision,
  type OutputFile,
  planFiles,
  planTensors,
  type QuantizeMethod,
  quantizationConfig,
} from './plan.js';
import { tensorBytes } from './safetensors-writer.js';
import { WorkFolder } from './work-folder.js';
import { type QuantizeTally, writeWeights } from './write-weights.js';

export const QUANTIZE_GROUP_SIZES = [32, 64, 128] as const;

export interface QuantizeOptions extends CallOptions {
  /** Checkpoint folder in bf16, f16 or f32. It is only read. */
  readonly source: string;
  /** Folder to make; must not exist, or be empty. A link is followed. Appears whole or not at all. */
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
 * model. After a kill, an abort or trouble with the disk the same call goes on where it was; a source that turns out to
 * be damaged leaves nothing.
 *
 * @throws SdkError ERR_MODEL_* when the source is not sound; ERR_ARGUMENT_INVALID for a used folder, one that may not be
 *   written, a group size that does not fit, or no calibration pictures; ERR_LICENSE_NOT_ACCEPTED; ERR_DISK_FULL, before
 *   the first byte where it can be known; ERR_PREPARE_LOCKED when another process makes the same output
 *
 * @example
 * await quantizeCheckpoint({ source: 'models/demo', output: 'models/demo-int4', groupSize: 128 });
 */
export async function quantizeCheckpoint(options: QuantizeOptions): Promise<QuantizeResult> {
  const { signal, groupSize = 128, lmHead = 'bf16', method = 'rtn', logger = silentLogger } = options;
  signal?.throwIfAborted();
  requireOptions(groupSize, lmHead, method);
  const output = await realPlace(options.output);
  await requireFreeFolder(output, resolve(options.source)).catch(async (error: unknown) => {
    await WorkFolder.clearLeftover(output).catch(() => {});
    throw error;
  });
  const checkpoint = await openCheckpoint(options.source, { signal });
  if (checkpoint.model.int4 !== null) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `${checkpoint.directory} is quantised already: give its 16-bit source.`);
  }
  const evidence = await llamaLicenseEvidence(checkpoint.directory, checkpoint.name);
  if (evidence !== null) requireLlamaName(output);

  const shardBytes = options.shardBytes ?? 4e9;
  const files = planFiles(planTensors(checkpoint.model, groupSize, lmHead, method), shardBytes);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const scenes = method === 'awq' ? await calibrationScenes(checkpoint, options.calibrate, logger) : [];
  const neededBytes = sizeBytes + SPARE_BYTES + calibrationBytes(checkpoint.model, files, scenes.length);
  const room = { folder: dirname(output), neededBytes, present: WorkFolder.pathFor(output) };
  await requireRoom(room);
  if (evidence !== null) await askForLicence(evidence, options); // last: nobody is asked for what cannot be done
  const pictures = await pictureDigests(scenes, options);
  const calibrated = scenes.map(({ samples }, index) => [
    pictures[index],
    samples.map(({ tokens, imageTokenIndex }) => [imageTokenIndex, ...tokens]),
  ]);
  const content = await checkpoint.contentHash();
  const key = JSON.stringify([QUANTIZER_VERSION, content, groupSize, lmHead, method, shardBytes, calibrated]);
  const work = await WorkFolder.take(output).catch(async (error: unknown) => {
    throw await diskError(error, room);
  });
  let tally: QuantizeTally;
  try {
    await requireFreeFolder(output, checkpoint.directory); // another may have made it before we were let in
    await work.prepare(key);
    await copyCompanions(checkpoint.directory, work.result, evidence !== null, logger);
    const adjustments =
      method === 'awq'
        ? await calibrate(checkpoint, scenes, { ...options, groupSize, lmHead, workDirectory: work.calibration })
        : new Map();
    const weightOptions = { ...options, groupSize, adjustments, journalFile: work.journal };
    tally = await writeWeights(files, work.result, weightOptions);
    if (files.length > 1) await writeJson(join(work.result, 'model.safetensors.index.json'), indexOf(files));
    await writeFile(join(work.result, 'config.json'), await quantizedConfig(checkpoint, groupSize, lmHead));
    // The proof that it can be loaded, before anybody sees it.
    await openCheckpoint(work.result, { signal });
    await requireFreeFolder(output, checkpoint.directory); // somebody else was faster: say so
    await work.show(output).catch((cause: NodeJS.ErrnoException) => {
      throw cause.code === 'EBUSY' ? mountPoint(output, cause) : cause;
    });
  } catch (error) {
    throw await settle(work, error, { room, logger, signal });
  }
  // It is there: nothing that happens to the rest changes that.
  await work.remove().catch((error: Error) => {
    logger.log('warn', `${work.path} is not needed any more, but could not be removed: ${error.message}`);
  });
  return { directory: resolve(options.output), method, groupSize, lmHead, sizeBytes, ...tally };
}

/** @throws SdkError ERR_LICENSE_NOT_ACCEPTED */
async function askForLicence(evidence: string, options: QuantizeOptions): Promise<void> {
  const notice = `The source is under the Llama Community License (${evidence}). ${LLAMA_EU_NOTICE}`;
  options.logger?.log('warn', notice);
  const accepted = options.acceptLlamaLicense ?? (await options.confirmLlamaLicense?.(notice)) ?? false;
  requireAcceptance(evidence, accepted);
}

/** What becomes of work that failed, and the error to throw. Hours of calibration go only when they are of no use. */
async function settle(
  work: WorkFolder,
  error: unknown,
  { room, logger, signal }: { room: NeededRoom; logger: Logger; signal: AbortSignal | undefined },
): Promise<unknown> {
  const isAborted = signal?.aborted === true;
  const told = isAborted ? error : await diskError(error, room).catch(() => error);
  const isHopeless = !isAborted && isDamage(told);
  await (isHopeless ? work.remove() : work.keep()).catch((cause: Error) => {
    logger.log('warn', `${work.path} could not be cleared away: ${cause.message}`);
  });
  if (isAborted || isHopeless || !work.isPrepared) return told;
  const kept = `What is done is kept in ${work.path}: the same command goes on from there.`;
  if (told instanceof SdkError) {
    return new SdkError(told.code, `${told.message} ${kept}`, { cause: told.cause ?? told, details: told.details });
  }
  logger.log('warn', kept);
  return told;
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

/** Of what was read; a disk that could not be read may come back. */
function isDamage(error: unknown): boolean {
  if (!isSdkError(error, 'ERR_MODEL_INVALID') && !isSdkError(error, 'ERR_MODEL_UNSUPPORTED')) return false;
  return (error.cause as NodeJS.ErrnoException | undefined)?.errno === undefined;
}

async function quantizedConfig(checkpoint: Checkpoint, groupSize: number, lmHead: LmHeadPrecision): Promise<string> {
  const text = await readFile(join(checkpoint.directory, 'config.json'), 'utf8');
  const config = parseKeepingNumbers(text) as Record<string, unknown>;
  // Float32 tensors became bfloat16; both spellings of the field are in use.
  for (const part of [config, config.text_config, config.vision_config] as (Record<string, unknown> | undefined)[]) {
    for (const key of ['torch_dtype', 'dtype']) if (part?.[key] === 'float32') part[key] = 'bfloat16';
    // The head is written as a tensor of its own, rounded or not.
    if (part?.tie_word_embeddings === true && part !== config.vision_config) part.tie_word_embeddings = false;
  }
  return `${stringifyKeepingNumbers({ ...config, quantization_config: quantizationConfig(groupSize, lmHead) })}\n`;
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
