/** Makes a model folder from another: whole or not at all, in bounded memory, going on where a killed run was. */
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { isSdkError, SdkError } from '#sdk/core/errors.js';
import { type Logger, type OnProgress, silentLogger } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import type { Adjustments } from './adjustments.js';
import { copyCompanions } from './companions.js';
import { diskError, type NeededRoom, requireRoom } from './disk-room.js';
import { parseKeepingNumbers, stringifyKeepingNumbers } from './json-text.js';
import { LLAMA_EU_NOTICE, llamaLicenseEvidence, requireAcceptance, requireLlamaName } from './llama-license.js';
import { mountPoint, realPlace, requireFreeFolder } from './output-place.js';
import { indexOf, type OutputFile } from './plan.js';
import type { Source } from './sources/open-source.js';
import { WorkFolder } from './work-folder.js';
import { type QuantizeTally, writeWeights } from './write-weights.js';

export interface FolderOptions extends CallOptions {
  /** Folder to make; must not exist, or be empty. A link is followed. Appears whole or not at all. */
  readonly output: string;
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

/** What is to be written. */
export interface FolderPlan {
  readonly source: Source;
  /** Folders beside the source that are read, and must not be written into. */
  readonly alsoRead?: readonly string[];
  readonly files: readonly OutputFile[];
  readonly groupSize: number;
  /** For progress. */
  readonly phase: string;
  /** What is written before the weights, and goes again. */
  readonly calibrationBytes: number;
  /** All that the bytes of the result depend on, asked for last: it may read much. */
  key(): Promise<unknown>;
  /** Decides about weights before they are written. */
  adjust?(workDirectory: string): Promise<Adjustments>;
  /** Changes the parsed config.json of the source; numbers in it are marked texts. */
  config(config: Record<string, unknown>): Record<string, unknown>;
}

const SPARE_BYTES = 64 << 20;
/** Raise when other bytes come out: work that an older version left is then not taken up. */
const VERSION = 5;
export const DEFAULT_SHARD_BYTES = 4e9;

/**
 * @param plan made once it is known that the output is free
 * @throws SdkError as `quantizeCheckpoint`
 */
export async function makeFolder(
  sourceDirectory: string,
  options: FolderOptions,
  makePlan: () => Promise<FolderPlan>,
): Promise<QuantizeTally & { readonly sizeBytes: number; readonly plan: FolderPlan }> {
  const { signal, logger = silentLogger } = options;
  const output = await realPlace(options.output);
  await requireFreeFolder(output, resolve(sourceDirectory)).catch(async (error: unknown) => {
    await WorkFolder.clearLeftover(output).catch(() => {});
    throw error;
  });
  const plan = await makePlan();
  const { source, files } = plan;
  const requireFree = async () => {
    for (const read of [source.directory, ...(plan.alsoRead ?? [])]) await requireFreeFolder(output, resolve(read));
  };
  await requireFree();
  for (const warning of source.warnings) logger.log('warn', `${source.name}: ${warning}`);
  const evidence = await llamaLicenseEvidence(source.directory, source.name);
  if (evidence !== null) requireLlamaName(output);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const neededBytes = sizeBytes + SPARE_BYTES + plan.calibrationBytes;
  const room = { folder: dirname(output), neededBytes, present: WorkFolder.pathFor(output) };
  await requireRoom(room);
  if (evidence !== null) await askForLicence(evidence, options); // last: nobody is asked for what cannot be done
  const key = JSON.stringify([
    VERSION,
    await source.contentHash(),
    options.shardBytes ?? DEFAULT_SHARD_BYTES,
    await plan.key(),
  ]);
  const work = await WorkFolder.take(output).catch(async (error: unknown) => {
    throw await diskError(error, room);
  });
  let tally: QuantizeTally;
  try {
    await requireFree(); // another may have made it before we were let in
    await work.prepare(key);
    await copyCompanions(source.directory, work.result, evidence !== null, logger);
    const adjustments: Adjustments = (await plan.adjust?.(work.calibration)) ?? new Map();
    const { groupSize, phase } = plan;
    const journalFile = work.journal;
    tally = await writeWeights(files, work.result, { ...options, groupSize, adjustments, journalFile, phase });
    if (files.length > 1) await writeJson(join(work.result, 'model.safetensors.index.json'), indexOf(files));
    await writeFile(join(work.result, 'config.json'), await configText(plan));
    // The proof that it can be loaded, before anybody sees it.
    await openCheckpoint(work.result, { signal });
    await requireFree(); // somebody else was faster: say so
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
  return { ...tally, sizeBytes, plan };
}

/** @throws SdkError ERR_LICENSE_NOT_ACCEPTED */
async function askForLicence(evidence: string, options: FolderOptions): Promise<void> {
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
    logger.log('warn', `${work.path} could not be removed: ${cause.message}`);
  });
  if (isAborted || isHopeless || !work.isPrepared) return told;
  const kept = `What is done is kept in ${work.path}: the same command continues from there.`;
  if (told instanceof SdkError) {
    return new SdkError(told.code, `${told.message} ${kept}`, { cause: told.cause ?? told, details: told.details });
  }
  logger.log('warn', kept);
  return told;
}

/** Of what was read; a disk that could not be read may come back. */
function isDamage(error: unknown): boolean {
  if (!isSdkError(error, 'ERR_MODEL_INVALID') && !isSdkError(error, 'ERR_MODEL_UNSUPPORTED')) return false;
  return (error.cause as NodeJS.ErrnoException | undefined)?.errno === undefined;
}

/** What other tools left in config.json about how they wrote the weights. */
const FOREIGN_FIELDS = ['quantization', 'quantization_config', 'compression_config'];

async function configText({ source, config: change }: FolderPlan): Promise<string> {
  const text = await readFile(join(source.directory, 'config.json'), 'utf8');
  const config = parseKeepingNumbers(text) as Record<string, unknown>;
  for (const field of FOREIGN_FIELDS) delete config[field];
  for (const part of [config, config.text_config] as (Record<string, unknown> | undefined)[]) {
    // The head is written as a tensor of its own, rounded or not.
    if (part?.tie_word_embeddings === true) part.tie_word_embeddings = false;
  }
  return `${stringifyKeepingNumbers(change(config))}\n`;
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
