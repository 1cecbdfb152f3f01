/**
 * Builds the console's page into dist, when its sources or its tools have changed since the last time.
 *
 *   node device/setup/build-page.mjs
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { repositoryRoot, run, say } from './machine.mjs';

const source = join(repositoryRoot, 'device', 'console', 'web');
const output = join(repositoryRoot, 'dist', 'device', 'console', 'page');
const keyFile = join(repositoryRoot, 'dist', 'page.key');

/** Changes with every file of the page and with the packages that it is made with. */
function buildKey() {
  const hash = createHash('sha256').update(readFileSync(join(repositoryRoot, 'package-lock.json')));
  for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    hash.update(`\n${path.slice(source.length)}\n`).update(readFileSync(path));
  }
  return hash.digest('hex');
}

export async function buildPage() {
  const key = buildKey();
  const isThere = existsSync(join(output, 'index.html')) && existsSync(keyFile);
  if (isThere && readFileSync(keyFile, 'utf8') === key) return say('page of the console: up to date');
  say('page of the console: building');
  const vite = join(repositoryRoot, 'node_modules', 'vite', 'bin', 'vite.js');
  await run([process.execPath, vite, 'build', source, '--logLevel', 'warn'], { quiet: true });
  writeFileSync(keyFile, key);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await buildPage();
