/** Opens the native decoder: where packed weights are kept, which kernels run, what is done when the cache fails. */
import { createHash } from 'node:crypto';
import { mkdir, rm, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SdkError } from '../../core/errors.js';
import { silentLogger } from '../../core/logger.js';
import { engineAddon } from '../../native/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { abortable } from '../shared/cancellation.js';
import { defaultCacheDirectory, itemsIn } from '../shared/prepared-cache.js';
import type { CpuDecoderSpec, CpuKeyValueType, OpenedCpuDecoder } from './addon-types.js';

/** Kernels by name, slowest first; only those of the processor can be chosen. */
export type CpuInstructionSet = 'scalar' | 'avx2' | 'avx512-vnni' | 'neon-dotprod';

/** What the cpu backend's decoder is opened with; `CpuEngineOptions` has the defaults. */
export interface CpuDecoderOptions extends OpenEngineOptions {
  readonly numerics: NonNullable<OpenEngineOptions['numerics']>;
  /** Tokens that one sequence holds at most: the length of its K/V cache. */
  readonly contextLength: number;
  /** The fastest that the processor has when left out. ERR_ARGUMENT_INVALID for one that it lacks. */
  readonly instructionSet?: CpuInstructionSet | undefined;
  /** How the K/V cache stores a value; `'f16'` when left out. */
  readonly keyValueType?: CpuKeyValueType | undefined;
}

const KEY_VALUE_TYPES: readonly CpuKeyValueType[] = ['f16', 'int8', 'f32'];
const TEXT_TENSOR = /^language_model\./;
/** Packing into memory is what remains when the cache cannot be written. */
const CACHE_FAILURES: readonly unknown[] = ['ERR_DISK_FULL', 'ERR_CONFIG_INVALID'];

/** Packed weights that are kept, of the checkpoints last used; those of the 11B model take 6 GB. */
const KEPT_PACKED = 2;
/** Another process may be about to map a file that was used so short a time ago. */
const JUST_USED_MS = 10 * 60_000;
/** Packing takes minutes and writes all the time: a partial file this old is a leftover. */
const PARTIAL_STALE_MS = 60 * 60_000;

/**
 * Opens the decoder of a checkpoint. Weights are packed once and mapped from the cache afterwards; packed in memory,
 * with a
 * warning, where the cache cannot be written.
 * @throws SdkError ERR_ARGUMENT_INVALID for an instruction set or a type that is not one; what the addon reports
 * otherwise
 */
export async function openCpuDecoder(
  checkpoint: EngineCheckpoint,
  options: CpuDecoderOptions,
): Promise<OpenedCpuDecoder> {
  const { model } = checkpoint;
  const logger = options.logger ?? silentLogger;
  const spec: CpuDecoderSpec = {
    text: model.architecture.text,
    tensors: [...model.tensors]
      .filter(([name]) => TEXT_TENSOR.test(name))
      .map(([name, location]) => ({ name, ...location })),
    maskedTokensAttend: options.numerics !== 'meta',
    contextLength: options.contextLength,
    threads: options.threads ?? 0,
    instructionSet: chooseInstructionSet(options.instructionSet),
    keyValueType: checkedKeyValueType(options.keyValueType ?? 'f16'),
    ...(model.int4 === null ? { packedWeightsPath: '', packedKey: '' } : await placeOfPacked(checkpoint, options)),
  };
  let opened: OpenedCpuDecoder;
  try {
    opened = await open(spec, options);
  } catch (error) {
    if (spec.packedWeightsPath === '' || !(error instanceof SdkError) || !CACHE_FAILURES.includes(error.code))
      throw error;
    logger.log('warn', `${error.message} The weights are packed in memory at every start until then.`);
    opened = await open({ ...spec, packedWeightsPath: '' }, options);
  }
  if (opened.packed === 'replaced') {
    logger.log('info', `${spec.packedWeightsPath} was outdated or damaged and has been rebuilt`);
  }
  return opened;
}

async function open(spec: CpuDecoderSpec, { signal, onProgress }: CpuDecoderOptions): Promise<OpenedCpuDecoder> {
  return abortable(signal, (abort) =>
    engineAddon().openCpuDecoder(spec, abort, (done, total) => {
      onProgress?.({ phase: 'pack weights', done, total, unit: 'bytes' });
    }),
  );
}

function checkedKeyValueType(type: CpuKeyValueType): CpuKeyValueType {
  if (KEY_VALUE_TYPES.includes(type)) return type;
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected keyValueType f16, int8 or f32, but received "${type}".`);
}

function chooseInstructionSet(wanted: CpuInstructionSet | undefined): string {
  const name = wanted ?? process.env.SCENEBUS_CPU_INSTRUCTION_SET ?? '';
  const { instructionSets } = engineAddon().cpuFeatures();
  if (name === '' || instructionSets.includes(name)) return name;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected an instruction set of this processor (${instructionSets.join(', ')}) but received "${name}".`,
  );
}

async function placeOfPacked(
  checkpoint: EngineCheckpoint,
  { cacheDirectory, logger }: CpuDecoderOptions,
): Promise<Pick<CpuDecoderSpec, 'packedWeightsPath' | 'packedKey'>> {
  const directory = join(cacheDirectory ?? defaultCacheDirectory(), 'cpu');
  const packedKey = await checkpoint.contentHash();
  // One file for each place of a checkpoint: a changed checkpoint replaces the file of its old self.
  const name = createHash('sha256').update(checkpoint.directory).digest('hex').slice(0, 32);
  try {
    await mkdir(directory, { recursive: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    (logger ?? silentLogger).log(
      'warn',
      `Packed weights cannot be stored in ${directory} (${reason}); they are packed in memory at every start.`,
    );
    return { packedWeightsPath: '', packedKey };
  }
  const packedWeightsPath = join(directory, `${name}.weights`);
  const now = new Date();
  await utimes(packedWeightsPath, now, now).catch(() => {}); // not there yet, or a cache that is only read
  await prunePacked(directory, basename(packedWeightsPath)).catch(() => {});
  return { packedWeightsPath, packedKey };
}

/**
 * Whoever has one of the files mapped keeps it until it ends. Lock files stay: two processes that hold different files
 * of one name would pack at once.
 */
async function prunePacked(directory: string, own: string): Promise<void> {
  const items = (await itemsIn(directory)).map(({ name, usedMs }) => ({ name, ageMs: Date.now() - usedMs }));
  const others = items.filter(({ name }) => name.endsWith('.weights') && name !== own);
  const unused = others.slice(KEPT_PACKED - 1).filter(({ ageMs }) => ageMs > JUST_USED_MS);
  const partial = items.filter(({ name, ageMs }) => name.endsWith('.weights.partial') && ageMs > PARTIAL_STALE_MS);
  for (const { name } of [...unused, ...partial]) await rm(join(directory, name), { force: true });
}
