/** Room and rights on the disk of the output: asked before the first byte, and told when they run out later. */
import { access, constants, readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import { nearestFolder } from './output-place.js';

export interface NeededRoom {
  /** Where it is needed; need not exist yet. */
  readonly folder: string;
  readonly neededBytes: number;
  /** What lies there of it already, or goes before the rest comes. */
  readonly present: string;
}

/** @throws SdkError ERR_DISK_FULL, or ERR_ARGUMENT_INVALID where nothing may be written */
export async function requireRoom(room: NeededRoom): Promise<void> {
  const folder = await nearestFolder(room.folder);
  try {
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw await diskError(error, room);
  }
  const [remaining, free] = [await remainingBytes(room), await freeBytes(folder)];
  if (free < remaining) throw diskFull(folder, remaining, free);
}

/** What the system says about a disk, in words; any other error as it is. */
export async function diskError(error: unknown, room: NeededRoom): Promise<unknown> {
  if (error instanceof SdkError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected to read the source and to write in ${room.folder}, but the system refused it (${message}). Change its permissions, or choose another folder.`,
      { cause: error, details: { directory: room.folder } },
    );
  }
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  const folder = await nearestFolder(room.folder);
  return diskFull(folder, await remainingBytes(room), await freeBytes(folder), error);
}

function diskFull(directory: string, neededBytes: number, freeBytes: number, cause?: unknown): SdkError {
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);
  const hasRoom = freeBytes >= neededBytes;
  const why = hasRoom
    ? `. The system refused to write nevertheless (${(cause as Error).message}): a quota or the number of files is used up. Raise it, remove files or choose another disk.`
    : '. Free some space or choose another disk.';
  return new SdkError(
    'ERR_DISK_FULL',
    `The folder needs ${gigabytes(neededBytes)} GB in ${directory}, ${hasRoom ? 'and' : 'but'} ${gigabytes(freeBytes)} GB are free${why}`,
    { cause, details: { directory, neededBytes, freeBytes } },
  );
}

async function remainingBytes({ neededBytes, present }: NeededRoom): Promise<number> {
  return Math.max(0, neededBytes - (await bytesIn(present)));
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Of all files below; 0 for what is not there. */
async function bytesIn(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) sum += await bytesIn(path);
    else sum += (await stat(path).catch(() => undefined))?.size ?? 0;
  }
  return sum;
}
