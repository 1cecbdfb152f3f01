/**
 * Files made from a checkpoint and kept: `<cache>/<kind>/<key>/…` with `prepared.json`, which holds a hash of each, or
 * the size of each where they are too large to be read at every start. An entry appears whole (a rename) and is built
 * again when anything about it is damaged. A lock keeps two processes from building the same; it only saves work, since
 * the rename alone decides whose entry stays.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { SdkError } from '../../core/errors.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { ProcessLock } from '../../core/process-lock.js';
import type { CallOptions } from '../../core/types.js';

const INDEX_FILE = 'prepared.json';
/** A lock of another host that nobody has renewed for this long belongs to nobody. */
const LOCK_ABANDONED_MS = 2 * 60_000;
/** Longer than that, so that a container that was killed and recreated waits instead of failing. */
const LOCK_TIMEOUT_MS = 3 * 60_000;
/** A draft this old is a leftover, unless the lock of its entry is being renewed. */
const DRAFT_STALE_MS = 10 * 60_000;

/** Entries of one kind that are kept; the longest unused go first. */
const KEPT_ENTRIES = 16;
const KEPT_FOLDERS = 2;

const indexSchema = z.object({ key: z.string(), files: z.record(z.string(), z.string()) });
const folderSchema = z.object({ key: z.string(), sizesBytes: z.record(z.string(), z.int()) });

export type PreparedFiles = Readonly<Record<string, Uint8Array>>;

export interface PrepareOptions extends CallOptions {
  readonly cacheDirectory?: string | undefined;
  /** Folder of this sort of entry: `onnx`. */
  readonly kind: string;
  /** Everything that the files depend on, in any form; hashed here. */
  readonly key: readonly unknown[];
  /** How long to wait for another process that builds the same. Default 3 minutes. */
  readonly lockTimeoutMs?: number | undefined;
  readonly logger?: Logger | undefined;
}

/** `$XDG_CACHE_HOME/scenebus`, else `~/.cache/scenebus`. */
export function defaultCacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME;
  // The XDG specification ignores relative paths.
  return path.join(base !== undefined && path.isAbsolute(base) ? base : path.join(os.homedir(), '.cache'), 'scenebus');
}

export type PreparedPlace = Pick<PrepareOptions, 'cacheDirectory' | 'kind' | 'key'>;

/** Where the files of an entry lie; for those who keep more beside them. */
export function preparedDirectory({ cacheDirectory, kind, key }: PreparedPlace): string {
  const name = createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 32);
  return path.join(cacheDirectory ?? defaultCacheDirectory(), kind, name);
}

/**
 * The files of an entry, built when missing or damaged. A cache that cannot be written costs time, not function: the
 * files are then built in memory, with a warning.
 *
 * @throws SdkError ERR_PREPARE_LOCKED another process has been building this for longer than `lockTimeoutMs`
 */
export async function preparedFiles(options: PrepareOptions, build: () => PreparedFiles): Promise<PreparedFiles> {
  const entry = preparedDirectory(options);
  const key = path.basename(entry);
  const make = async () => {
    const files = build();
    const fill = async (draft: string) => {
      for (const [name, bytes] of Object.entries(files)) await writeFile(path.join(draft, name), bytes);
      return { key, files: Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, sha256(bytes)])) };
    };
    await writeEntry(entry, fill).catch((error) => warnUnwritable(options, path.dirname(entry), error));
    await prune(path.dirname(entry), KEPT_ENTRIES).catch(() => {});
    return files;
  };
  return once(options, { kept: () => readEntry(entry, key), make, unwritable: build });
}

export interface PrepareFolderOptions extends PrepareOptions {
  /** Room that the files need, at least. */
  readonly sizeBytes: number;
}

/**
 * A folder of large files that `fill` writes into a draft. Only their sizes are checked when they are met again.
 * undefined, with a warning: they cannot be kept, because there is no room or the cache cannot be written.
 *
 * @throws SdkError ERR_PREPARE_LOCKED as `preparedFiles`
 * @throws whatever `fill` throws for another reason than the disk
 */
export async function preparedFolder(
  options: PrepareFolderOptions,
  fill: (draft: string) => Promise<void>,
): Promise<string | undefined> {
  const entry = preparedDirectory(options);
  const key = path.basename(entry);
  const root = path.dirname(entry);
  const make = async () => {
    try {
      const { bavail, bsize } = await statfs(root);
      if (bavail * bsize < options.sizeBytes) {
        throw new Error(`${options.sizeBytes} bytes are needed, ${bavail * bsize} are free`);
      }
      await prune(root, KEPT_FOLDERS - 1).catch(() => {});
      await writeEntry(entry, async (draft) => {
        await fill(draft);
        return { key, sizesBytes: await sizesIn(draft) };
      });
      return entry;
    } catch (error) {
      if (options.signal?.aborted === true || error instanceof SdkError) throw error;
      return warnUnwritable(options, root, error);
    }
  };
  return once(options, { kept: () => wholeFolder(entry, key), make, unwritable: () => undefined });
}

interface Steps<T> {
  /** undefined: not there, or damaged. */
  kept(): Promise<T | undefined>;
  make(): Promise<T>;
  /** When not even a lock can be written. */
  unwritable(): T;
}

/** What is kept, or what is made now, by nobody else at the same time. */
async function once<T>(options: PrepareOptions, { kept, make, unwritable }: Steps<T>): Promise<T> {
  const found = await kept();
  if (found !== undefined) return found;
  const entry = preparedDirectory(options);
  const root = path.dirname(entry);
  let lock: ProcessLock;
  try {
    await mkdir(root, { recursive: true });
    lock = await acquireLock(`${entry}.lock`, options);
  } catch (error) {
    if (error instanceof SdkError || options.signal?.aborted === true) throw error;
    warnUnwritable(options, root, error);
    return unwritable();
  }
  try {
    return (await kept()) ?? (await make());
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}

function acquireLock(file: string, options: PrepareOptions): Promise<ProcessLock> {
  const { lockTimeoutMs: timeoutMs = LOCK_TIMEOUT_MS, signal } = options;
  const locked = () =>
    new SdkError(
      'ERR_PREPARE_LOCKED',
      `Another process has been preparing this model for more than ${timeoutMs} ms. Wait for it, or delete ${file} if there is none.`,
      { details: { lockFile: file, timeoutMs } },
    );
  return ProcessLock.acquire(file, { timeoutMs, abandonedAfterMs: LOCK_ABANDONED_MS, signal, locked });
}

function warnUnwritable(options: PrepareOptions, root: string, error: unknown): undefined {
  const reason = error instanceof Error ? error.message : String(error);
  const message = `Prepared files could not be kept in ${root} (${reason}); they are built at every start until it can be written.`;
  (options.logger ?? silentLogger).log('warn', message);
}

/** undefined: not there, or not as it was written. */
async function readEntry(entry: string, key: string): Promise<PreparedFiles | undefined> {
  try {
    const index = indexSchema.parse(JSON.parse(await readFile(path.join(entry, INDEX_FILE), 'utf8')));
    if (index.key !== key) return undefined;
    const files: Record<string, Uint8Array> = {};
    for (const [name, hash] of Object.entries(index.files)) {
      const bytes = await readFile(path.join(entry, path.basename(name)));
      if (sha256(bytes) !== hash) return undefined;
      files[name] = bytes;
    }
    await utimes(entry, new Date(), new Date()).catch(() => {}); // read-only caches work too
    return files;
  } catch {
    return undefined; // missing, cut or not JSON: all the same, it is built again
  }
}

async function wholeFolder(entry: string, key: string): Promise<string | undefined> {
  try {
    const index = folderSchema.parse(JSON.parse(await readFile(path.join(entry, INDEX_FILE), 'utf8')));
    if (index.key !== key) return undefined;
    for (const [name, sizeBytes] of Object.entries(index.sizesBytes)) {
      if ((await stat(path.join(entry, path.basename(name)))).size !== sizeBytes) return undefined;
    }
    await utimes(entry, new Date(), new Date()).catch(() => {});
    return entry;
  } catch {
    return undefined;
  }
}

async function sizesIn(directory: string): Promise<Record<string, number>> {
  const sizes = (await readdir(directory)).map(
    async (name) => [name, (await stat(path.join(directory, name))).size] as const,
  );
  return Object.fromEntries(await Promise.all(sizes));
}

/** `fill` writes into a draft and returns the content of the index. */
async function writeEntry(entry: string, fill: (draft: string) => Promise<object>): Promise<void> {
  const draft = `${entry}.${randomUUID()}.tmp`;
  try {
    await mkdir(draft, { recursive: true });
    const index = await fill(draft);
    await writeFile(path.join(draft, INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`);
    await rm(entry, { recursive: true, force: true }); // a damaged one
    await rename(draft, entry);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Removes what has long not been used, and drafts of processes that ended in the middle. Readers hold no files. */
async function prune(root: string, keptEntries: number): Promise<void> {
  const items = await itemsIn(root);
  const ages = new Map(items.map(({ name, usedMs }) => [name, Date.now() - usedMs]));
  const entries = items.filter(({ name }) => /^[0-9a-f]{32}$/.test(name));
  const drafts = items.filter(({ name }) => {
    // A lock under way has a draft too.
    if (!/\.(tmp$|lock-)/.test(name) || ages.get(name)! < DRAFT_STALE_MS) return false;
    return !((ages.get(`${name.slice(0, 32)}.lock`) ?? Number.POSITIVE_INFINITY) < LOCK_ABANDONED_MS);
  });
  for (const { name } of [...entries.slice(keptEntries), ...drafts]) {
    await rm(path.join(root, name), { recursive: true, force: true });
  }
}

/** What lies in a folder of the cache, last used first. What others remove meanwhile is left out. */
export async function itemsIn(root: string): Promise<{ readonly name: string; readonly usedMs: number }[]> {
  const items = (await readdir(root)).map(async (name) => {
    const status = await stat(path.join(root, name)).catch(() => undefined);
    return status === undefined ? [] : [{ name, usedMs: status.mtimeMs }];
  });
  return (await Promise.all(items)).flat().sort((a, b) => b.usedMs - a.usedMs);
}

/** Lower-case hex, 64 characters. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
