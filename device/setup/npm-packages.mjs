/** Whether `node_modules` holds what `package-lock.json` asks for, and `npm ci` when it does not. */
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot, run, StepFailed, say } from './machine.mjs';

/**
 * npm writes the tree that it installed into `node_modules/.package-lock.json`, as its last act: comparing the two
 * needs no stamp of our own and also notices an installation that somebody else made or broke off.
 * @param {{ packages?: Record<string, { version?: string, optional?: boolean }> }} wanted package-lock.json
 * @param {{ packages?: Record<string, { version?: string }> } | null} installed the hidden lock file, null when absent
 * @returns {string | null} why `npm ci` must run, in words; null when it need not
 */
export function staleReason(wanted, installed) {
  if (installed === null) return 'node_modules is missing or incomplete';
  for (const [path, { version, optional }] of Object.entries(wanted.packages ?? {})) {
    if (path === '') continue;
    const found = installed.packages?.[path];
    // Optional packages are binaries for other platforms.
    if (found === undefined && optional) continue;
    const name = path.replace(/^.*node_modules\//, '');
    if (found === undefined) return `${name} is missing`;
    if (found.version !== version) return `${name} is ${found.version}, package-lock.json asks for ${version}`;
  }
  for (const path of Object.keys(installed.packages ?? {}))
    if (wanted.packages?.[path] === undefined) return `${path} is no longer asked for`;
  return null;
}

/** @param {string} path */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

const folder = join(repositoryRoot, 'node_modules');

function isLink(path) {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}

/** Why `npm ci` must run, in words; null when it need not. */
export function packagesReason() {
  const lock = readJson(join(repositoryRoot, 'package-lock.json'));
  if (lock === null) throw new StepFailed('package-lock.json is damaged: restore it with git');
  return staleReason(lock, readJson(join(folder, '.package-lock.json')));
}

export async function preparePackages() {
  const reason = packagesReason();
  if (reason === null) return say('npm packages: up to date');
  if (isLink(folder)) return say(`npm packages: ${reason}, but node_modules is a link; left as it is`);

  say(`npm packages: ${reason}; running npm ci`);
  // onnxruntime-node would fetch a GPU build from another host; its package already holds the CPU build that we use.
  await run(['npm', 'ci', '--no-audit', '--no-fund'], { environment: { ONNXRUNTIME_NODE_INSTALL: 'skip' } });
}
