/** Where a quantised folder is to appear, looked at before anything is made. */
import { lstat, mkdir, readdir, readFile, realpath, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';

/**
 * The path without links, as far as it exists: a rename replaces a link rather than what it leads to, and what is made
 * beside a link lies on another disk.
 *
 * @throws SdkError ERR_ARGUMENT_INVALID for a link to nothing, or a path through something that is no folder
 */
export async function realPlace(path: string): Promise<string> {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      return join(await realpath(at), ...missing);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw notAFolder(path, error);
    }
    if ((await lstat(at).catch(() => undefined))?.isSymbolicLink() === true) {
      throw invalid(`The output ${path} goes through ${at}, a link to something that is not there: remove the link.`);
    }
    missing.unshift(basename(at));
  }
}

/** The folder itself, or the first above it that exists. */
export async function nearestFolder(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if (at === dirname(at) || (await stat(at).catch(() => undefined)) !== undefined) return at;
  }
}

/** @throws SdkError ERR_ARGUMENT_INVALID for an output in the source, in use, or that no rename can make appear */
export async function requireFreeFolder(output: string, source: string): Promise<void> {
  const fromSource = relative(await realpath(source).catch(() => source), output);
  if (fromSource === '' || !fromSource.startsWith('..')) {
    throw invalid(`The output ${output} lies in the source ${source}: choose a folder beside it.`);
  }
  const status = await stat(output).catch(() => undefined);
  if (status === undefined) return;
  if (await isMountPoint(output)) throw mountPoint(output);
  const entries = await readdir(output).catch((error: unknown) => {
    throw notAFolder(output, error);
  });
  if (entries.length > 0) {
    throw invalid(`The output ${output} exists and is not empty: remove it or choose another.`);
  }
}

export function mountPoint(output: string, cause?: unknown): SdkError {
  return invalid(
    `The output ${output} is a mount point, and a folder that is made elsewhere cannot take its place: choose a folder inside it.`,
    cause,
  );
}

async function isMountPoint(path: string): Promise<boolean> {
  const [itself, parent] = [await stat(path), await stat(dirname(path))];
  if (itself.dev !== parent.dev || itself.ino === parent.ino) return true; // the root is its own parent
  // A folder of the same disk that is bound there does not show otherwise. proc(5): the fifth field, spaces in octal.
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  const name = path.replace(/[ \t\n\\]/g, (sign) => `\\${sign.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return mounts.split('\n').some((line) => line.split(' ')[4] === name);
}

/** Makes the folders above the output; what comes back removes those that were made, as far as they are empty. */
export async function makeParents(output: string): Promise<() => Promise<void>> {
  const parent = dirname(output);
  const existing = await nearestFolder(parent);
  const undo = async () => {
    for (let at = parent; at !== existing; at = dirname(at)) {
      const error = await rmdir(at).then(
        () => undefined,
        (cause: NodeJS.ErrnoException) => cause,
      );
      if (error !== undefined && error.code !== 'ENOENT') return;
    }
  };
  try {
    await mkdir(parent, { recursive: true });
  } catch (error) {
    await undo();
    throw error;
  }
  return undo;
}

function notAFolder(path: string, cause: unknown): SdkError {
  return invalid(`The output ${path} is not a folder that can be made.`, cause);
}

function invalid(message: string, cause?: unknown): SdkError {
  return new SdkError('ERR_ARGUMENT_INVALID', message, { cause });
}
