#!/usr/bin/env node
/**
 * `node test/check/imports.mjs`: fails on an import, or an include of C++, that CONTRIBUTING.md does not allow and on
 * files that import each other in a circle. `--graph` (also `npm run check -- --graph`) prints the folders and their
 * imports as a Mermaid diagram.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseSync } from 'oxc-parser';
import { betweenFolders, includeFaults, includesOf, isBuild, nativeFiles } from './includes.mjs';
import { circles, importFaults, layerFaults, readLayers } from './layers.mjs';

const ROOTS = ['sdk', 'calibration', 'device', 'examples', 'test'];
const PASSED_OVER = new Set(['node_modules', 'fixtures', 'training', 'dist']);
const ALIASES = { '#sdk/': 'sdk/', '#calibration/': 'calibration/', '#device/': 'device/' };

const scripts = ROOTS.flatMap((root) => sourceFiles(root));
const nativeSources = nativeFiles();
const includes = nativeSources.flatMap((file) => includesOf(file));
const folders = new Set([...ROOTS, 'native'].flatMap((root) => subfolders(root)).filter((folder) => !isBuild(folder)));
const imports = [...scripts.flatMap((file) => importsOf(file)), ...includes];

const layers = readLayers(readFileSync('CONTRIBUTING.md', 'utf8'));
const faults = [
  ...layerFaults(layers, folders),
  ...importFaults(layers, imports),
  ...nativeSources.flatMap((file) => includeFaults(file)),
  ...[...circles(imports), ...circles(betweenFolders(includes))].map((circle) => `circle: ${circle.join(' -> ')}`),
];
if (process.argv.includes('--graph')) console.log(mermaid());
for (const fault of faults) console.error(fault);
console.error(
  `${scripts.length + nativeSources.length} files, ${imports.length} imports, ${faults.length} not allowed`,
);
if (faults.length > 0) {
  console.error('The layout in CONTRIBUTING.md says which folder may import which.');
  process.exitCode = 1;
}

function sourceFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return PASSED_OVER.has(entry.name) ? [] : sourceFiles(file);
    return /\.(ts|tsx|mjs)$/.test(entry.name) && !entry.name.endsWith('.d.ts') ? [file] : [];
  });
}

/** Of any depth. */
function subfolders(folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return entries.flatMap(({ name }) => [`${folder}/${name}`, ...subfolders(`${folder}/${name}`)]);
}

/** Types count too: a type from above is as much of a tie as a value. */
function importsOf(file) {
  const { module, errors } = parseSync(file, readFileSync(file, 'utf8'));
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`);
  const specifiers = [
    ...module.staticImports.map(({ moduleRequest }) => moduleRequest.value),
    ...module.staticExports.flatMap(({ entries }) => entries.map((entry) => entry.moduleRequest?.value)),
    ...module.dynamicImports.map(({ moduleRequest: { start, end } }) => literal(file, start, end)),
  ];
  return [...new Set(specifiers)].flatMap((specifier) => {
    const to = specifier === undefined ? undefined : resolve(file, specifier);
    return to === undefined ? [] : [{ from: file, to, specifier }];
  });
}

function literal(file, start, end) {
  return /^['"](.*)['"]$/.exec(readFileSync(file, 'utf8').slice(start, end))?.[1];
}

/** A file of the repository, a public entry, or undefined for packages. */
function resolve(from, specifier) {
  if (specifier === 'scenebus' || specifier.startsWith('scenebus/')) return specifier;
  for (const [alias, folder] of Object.entries(ALIASES)) {
    if (specifier.startsWith(alias)) return source(folder + specifier.slice(alias.length));
  }
  return specifier.startsWith('.') ? source(path.posix.join(path.posix.dirname(from), specifier)) : undefined;
}

function source(file) {
  return file.replace(/\.js$/, '.ts');
}

function mermaid() {
  const folderOf = (file) =>
    file
      .split('/')
      .slice(0, 2)
      .filter((part) => !part.includes('.'))
      .join('/');
  const edges = new Set();
  for (const { from, to } of imports) {
    if (from.startsWith('test/')) continue;
    const [a, b] = [folderOf(from), folderOf(to)];
    if (a !== b && a.includes('/')) edges.add(`  ${id(a)}["${a}"] --> ${id(b)}["${b}"]`);
  }
  return ['graph TD', ...[...edges].sort()].join('\n');
}

function id(folder) {
  return folder.replaceAll(/[^\w]/g, '_');
}
