/** Patterns of file names that no shell has expanded: quoted ones, and those of a unit file. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

const MAGIC = /[*?[]/;

/**
 * Files that fit `*`, `?` and `[abc]` within a level of the path, and `**` over any levels. Names that begin with a dot
 * fit only where the pattern has one; `**` does not follow links.
 *
 * @returns undefined: it is no pattern (an address, or a file of exactly that name)
 */
export async function expandPattern(pattern: string): Promise<string[] | undefined> {
  if (!MAGIC.test(pattern) || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(pattern)) return undefined;
  if ((await kindOf(pattern)) !== undefined) return undefined;
  const levels = pattern.split('/').filter((level) => level !== '');
  const found = new Set<string>();
  await walk(pattern.startsWith('/') ? '/' : '', levels, found);
  return [...found];
}

async function walk(folder: string, [level, ...rest]: readonly string[], found: Set<string>): Promise<void> {
  if (level === undefined) return;
  if (level === '**') {
    await walk(folder, rest.length === 0 ? ['*'] : rest, found);
    for (const entry of await list(folder)) {
      if (entry.isDirectory() && !entry.name.startsWith('.'))
        await walk(join(folder, entry.name), ['**', ...rest], found);
    }
    return;
  }
  for (const name of MAGIC.test(level) ? await namesLike(folder, level) : [level]) {
    const path = join(folder, name);
    if (rest.length > 0) await walk(path, rest, found);
    else if ((await kindOf(path)) === 'file') found.add(path);
  }
}

async function namesLike(folder: string, level: string): Promise<string[]> {
  const fits = levelPattern(level);
  const names = (await list(folder)).map(({ name }) => name);
  return names.filter((name) => fits.test(name) && (!name.startsWith('.') || level.startsWith('.')));
}

/** `img-[0-9]*.jp?g` as a regular expression. */
function levelPattern(level: string): RegExp {
  const source = level.replace(
    /\[(!?)([^\]]+)\]|[*?]|[\\^$.+()[\]{}|]/g,
    (part, not: string | undefined, set: string) => {
      if (part === '*') return '.*';
      if (part === '?') return '.';
      if (set === undefined) return `\\${part}`;
      return `[${not ? '^' : ''}${set.replace(/[\\\]^]/g, '\\$&')}]`;
    },
  );
  return new RegExp(`^${source}$`, 'su');
}

/** Nothing of a folder that is not there or may not be read. */
async function list(folder: string): Promise<Dirent[]> {
  return await readdir(folder === '' ? '.' : folder, { withFileTypes: true }).catch(() => []);
}

async function kindOf(path: string): Promise<'file' | 'folder' | undefined> {
  return await stat(path).then(
    (entry) => (entry.isDirectory() ? 'folder' : 'file'),
    () => undefined,
  );
}
