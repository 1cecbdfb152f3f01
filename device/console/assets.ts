/** The page's files, all in memory: no request ever becomes a path on a disk. */
import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Asset {
  readonly bytes: Buffer;
  readonly mediaType: string;
  /** Named by its content: it may be cached forever. */
  readonly isImmutable: boolean;
}

const MEDIA_TYPES: ReadonlyMap<string, string> = new Map([
  ['.html', 'text/html; charset=utf-8'],
  ['.js', 'text/javascript; charset=utf-8'],
  ['.css', 'text/css; charset=utf-8'],
  ['.svg', 'image/svg+xml'],
]);

/** Where the build puts them: beside this module once it is compiled. */
const FOLDER = fileURLToPath(new URL('./page/', import.meta.url));

/** By their path in addresses, `/` for the page itself; empty when the page was not built. */
export async function loadAssets(folder = FOLDER): Promise<ReadonlyMap<string, Asset>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const assets = new Map<string, Asset>();
  for (const entry of entries) {
    const mediaType = MEDIA_TYPES.get(extname(entry.name));
    if (!entry.isFile() || mediaType === undefined) continue;
    const path = join(entry.parentPath, entry.name).slice(folder.length).replace(/^\/?/, '/');
    const bytes = await readFile(join(entry.parentPath, entry.name));
    assets.set(path === '/index.html' ? '/' : path, { bytes, mediaType, isImmutable: path.startsWith('/assets/') });
  }
  return assets;
}
