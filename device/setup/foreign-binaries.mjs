/** onnxruntime-node carries its library for five platforms, 290 MB; the four that are not this one are taken away. */
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { repositoryRoot, say } from './machine.mjs';

/**
 * Removes `bin/<api>/<platform>/<architecture>` of every other machine, only where this one's is there.
 * @param {string} folder of the package onnxruntime-node
 * @param {string} platform `process.platform`
 * @param {string} architecture `process.arch`
 * @returns {number} bytes that are free again
 */
export function removeForeignBinaries(folder, platform, architecture) {
  let freedBytes = 0;
  for (const api of foldersIn(join(folder, 'bin'))) {
    if (!existsSync(join(api, platform, architecture, 'onnxruntime_binding.node'))) continue;
    for (const place of foldersIn(api).flatMap(foldersIn)) {
      if (place === join(api, platform, architecture)) continue;
      freedBytes += sizeOf(place);
      rmSync(place, { recursive: true });
    }
  }
  return freedBytes;
}

/** In the node_modules that an installed package lies in; a folder that may not be changed is left as it is. */
export function pruneRuntime() {
  try {
    const require = createRequire(join(repositoryRoot, 'package.json'));
    const folder = dirname(require.resolve('onnxruntime-node/package.json'));
    const freedBytes = removeForeignBinaries(folder, process.platform, process.arch);
    if (freedBytes > 0) say(`onnxruntime-node: ${Math.round(freedBytes / 1e6)} MB for other platforms removed`);
  } catch (error) {
    say(
      `onnxruntime-node: what it holds for other platforms stays (${error instanceof Error ? error.message : error})`,
    );
  }
}

function foldersIn(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
}

function sizeOf(folder) {
  const entries = readdirSync(folder, { withFileTypes: true });
  return entries.reduce((sum, entry) => {
    const path = join(folder, entry.name);
    return sum + (entry.isDirectory() ? sizeOf(path) : statSync(path).size);
  }, 0);
}
