import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Replaces fields of a folder's `scenebus.json` or `detector.json`, in one step; what else it says stays as it is. */
export async function changeManifest(
  directory: string,
  name: 'scenebus.json' | 'detector.json',
  change: (before: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>,
): Promise<void> {
  const path = join(directory, name);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw error;
  });
  const before = JSON.parse(text) as Record<string, unknown>;
  const draft = `${path}.${process.pid}.part`;
  await writeFile(draft, `${JSON.stringify({ ...before, ...change(before) }, null, 2)}\n`);
  await rename(draft, path);
}
