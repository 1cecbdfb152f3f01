/**
 * Weights that the addon packs once for its kernels: where their file lies, what is done when the cache fails, and which
 * kernels read it.
 */
import { createHash } from 'node:crypto';
import { mkdir, rm, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SdkError } from '../../core/errors.js';
import { silentLogger } from '../../core/logger.js';
import { engineAddon } from '../../native/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { defaultCacheDirectory, itemsIn } from './prepared-cache.js';

/** Kernels by name, slowest first; only those of the processor can be chosen. */
export type CpuInstructionSet = 'scalar' | 'avx2' | 'avx512-vnni' | 'neon-dotprod';

/** Packing into memory is what remains when the cache cannot be written. */
const CACHE_FAILURES: readonly unknown[] = ['ERR_DISK_FULL', 'ERR_CONFIG_INVALID'];
/** Packed weights of each kind that are kept, of the checkpoints last used; those of the 11B model's text take 6 GB. */
const KEPT_PACKED = 2;
/** Another process may be about to map a file that was used so short a time ago. */
const JUST_USED_MS = 10 * 60_000;
/** Packing takes minutes and writes all the time: a partial file this old is a leftover. */
const PARTIAL_STALE_MS = 60 * 60_000;

export interface PackedPlace {
  /** Empty: in memory. */
  readonly packedWeightsPath: string;
  /** The key that the file must carry. */
  readonly packedKey: string;
}

/** Of models that have nothing to pack. */
export const NOT_PACKED: PackedPlace = { packedWeightsPath: '', packedKey: '' };

type CacheOptions = Pick<OpenEngineOptions, 'cacheDirectory' | 'logger'>;

/** Opens with the file, or without one when the cache cannot be written. */
export async function openPacked<Opened extends { readonly packed: string }>(
  place: PackedPlace,
  options: CacheOptions,
  open: (place: PackedPlace) => Promise<Opened>,
): Promise<Opened> {
  const logger = options.logger ?? silentLogger;
  let opened: Opened;
  try {
    opened = await open(place);
  } catch (error) {
    if (place.packedWeightsPath === '' || !(error instanceof SdkError) || !CACHE_FAILURES.includes(error.code))
      throw error;
    logger.log('warn', `${error.message} The weights are packed in memory at every start until then.`);
    opened = await open({ ...place, packedWeightsPath: '' });
  }
  if (opened.packed === 'replaced') {
    logger.log('info', `${place.packedWeightsPath} was outdated or damaged and has been rebuilt`);
  }
  return opened;
}

/**
 * The set's name, empty for the fastest.
 * @throws SdkError ERR_ARGUMENT_INVALID for one that the processor does not have
 */
export function chooseInstructionSet(wanted: CpuInstructionSet | undefined): string {
  const name = wanted ?? process.env.SCENEBUS_CPU_INSTRUCTION_SET ?? '';
  const { instructionSets } = engineAddon().cpuFeatures();
  if (name === '' || instructionSets.includes(name)) return name;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected an instruction set of this processor (${instructionSets.join(', ')}) but received "${name}".`,
  );
}

/** @param kind ending of the file's name: one checkpoint may have several */
export async function placeOfPacked(
  checkpoint: EngineCheckpoint,
  { cacheDirectory, logger }: CacheOptions,
  kind: string,
): Promise<PackedPlace> {
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
  const packedWeightsPath = join(directory, `${name}.${kind}`);
  const now = new Date();
  await utimes(packedWeightsPath, now, now).catch(() => {}); // not there yet, or a cache that is only read
  await prunePacked(directory, basename(packedWeightsPath), kind).catch(() => {});
  return { packedWeightsPath, packedKey };
}

/**
 * Whoever has one of the files mapped keeps it until it ends. Lock files stay: two processes that hold different files
 * of one name would pack at once.
 */
async function prunePacked(directory: string, own: string, kind: string): Promise<void> {
  const items = (await itemsIn(directory)).map(({ name, usedMs }) => ({ name, ageMs: Date.now() - usedMs }));
  const others = items.filter(({ name }) => name.endsWith(`.${kind}`) && name !== own);
  const unused = others.slice(KEPT_PACKED - 1).filter(({ ageMs }) => ageMs > JUST_USED_MS);
  const partial = items.filter(({ name, ageMs }) => name.endsWith(`.${kind}.partial`) && ageMs > PARTIAL_STALE_MS);
  for (const { name } of [...unused, ...partial]) await rm(join(directory, name), { force: true });
}
