#!/usr/bin/env node
/**
 * `node test/check/public-api.mjs`: fails when a public signature names a type that no entry exports, and when an exported
 * declaration of `sdk/`, public or not, has no docstring (`--list` names them). Reads `dist/`: compile first.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseSync } from 'oxc-parser';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const entries = Object.values(manifest.exports).flatMap((entry) => (entry.types ? [path.normalize(entry.types)] : []));
const modules = new Map();

const publicNames = new Map(); // `file#name` of each declaration that an entry exports -> its public name
for (const entry of entries) {
  for (const [name, place] of exportsOf(entry)) publicNames.set(key(place), name);
}

const faults = [];
for (const place of publicNames.keys()) {
  const [file, name] = place.split('#');
  for (const declaration of declarationsOf(file, name)) {
    for (const wanted of referencedTypes(declaration.node)) {
      const target = lookUp(file, wanted);
      // A schema that a public type is read off is written out beside it.
      if (wanted.endsWith('Schema')) continue;
      if (target !== undefined && !publicNames.has(key(target))) {
        faults.push(`${name} (${file}) names ${wanted}, which no entry exports`);
      }
    }
  }
  if (!declarationsOf(file, name).some(({ documented }) => documented)) {
    faults.push(`${name} (${file}) has no docstring`);
  }
}
for (const fault of [...new Set(faults)].sort()) console.error(fault);
const { all, without } = countDocstrings('dist/sdk');
console.log(`${publicNames.size} public declarations, ${new Set(faults).size} faults`);
console.log(`${without.length} of ${all} exported declarations in sdk/ have no docstring`);
if (process.argv.includes('--list')) for (const line of without) console.log(`  ${line}`);
if (faults.length > 0 || without.length > 0) process.exitCode = 1;

function parsed(file) {
  if (!modules.has(file)) {
    const source = readFileSync(file, 'utf8');
    const { program, comments, module } = parseSync(file, source, { lang: 'dts' });
    modules.set(file, { source, program, comments, module });
  }
  return modules.get(file);
}

function key({ file, name }) {
  return `${file}#${name}`;
}

/** The declaration file that a specifier leads to; undefined for packages. */
function resolve(from, specifier) {
  if (specifier.startsWith('#')) {
    const [, folder, rest] = /^#(\w+)\/(.*)$/.exec(specifier);
    return `dist/${folder}/${rest}`.replace(/\.js$/, '.d.ts');
  }
  if (!specifier.startsWith('.')) return undefined;
  const file = path.join(path.dirname(from), specifier).replace(/\.js$/, '.d.ts');
  return existsSync(file) ? file : undefined;
}

/** Name -> where it is declared, through any number of re-exports. */
function exportsOf(file) {
  const found = new Map();
  for (const { entries: exported } of parsed(file).module.staticExports) {
    for (const { moduleRequest, importName, exportName, localName } of exported) {
      const target = moduleRequest === null ? undefined : resolve(file, moduleRequest.value);
      if (moduleRequest !== null && target === undefined) continue;
      if (target === undefined)
        found.set(exportName.name, lookUp(file, localName.name) ?? { file, name: localName.name });
      else if (importName.kind === 'Name') found.set(exportName.name, exportsOf(target).get(importName.name));
      else for (const [name, place] of exportsOf(target)) found.set(name, place);
    }
  }
  return found;
}

/** Where a name in a file comes from; undefined for what is global, a type parameter or of a package. */
function lookUp(file, name) {
  if (declarationsOf(file, name).length > 0) return { file, name };
  for (const { moduleRequest, entries: imported } of parsed(file).module.staticImports) {
    for (const { importName, localName } of imported) {
      if (localName.value !== name) continue;
      const target = resolve(file, moduleRequest.value);
      return target === undefined ? undefined : exportsOf(target).get(importName.name);
    }
  }
  return undefined;
}

function declarationsOf(file, name) {
  return topLevel(file).filter((declaration) => declaration.names.includes(name));
}

function topLevel(file) {
  const module = parsed(file);
  module.declarations ??= module.program.body.flatMap((statement) => {
    const node = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement;
    if (node === null || node.type === 'ImportDeclaration' || node.type === 'ExportAllDeclaration') return [];
    const names = node.id ? [node.id.name] : (node.declarations ?? []).map(({ id }) => id.name);
    return [{ names, node, documented: isDocumented(module, statement.start), exported: statement !== node }];
  });
  return module.declarations;
}

function isDocumented({ source, comments }, start) {
  return comments.some(
    ({ type, value, end }) => type === 'Block' && value.startsWith('*') && source.slice(end, start).trim() === '',
  );
}

/** Names of types, and of values behind `typeof`, anywhere in a declaration; its own type parameters left out. */
function referencedTypes(node, bound = new Set()) {
  const names = new Set();
  const visit = (value, scope) => {
    if (Array.isArray(value)) for (const one of value) visit(one, scope);
    else if (value !== null && typeof value === 'object') {
      const own = value.typeParameters?.params?.map((one) => one.name?.name ?? one.name) ?? [];
      const inner = value.type === 'TSMappedType' ? [value.key?.name ?? value.key] : own;
      const next = new Set([...scope, ...inner]);
      if (value.type === 'TSInferType') for (const s of [value.typeParameter?.name?.name]) scope.add(s);
      const named = nameOf(value);
      if (named !== undefined && !next.has(named)) names.add(named);
      for (const [property, child] of Object.entries(value)) if (property !== 'parent') visit(child, next);
    }
  };
  visit(node, bound);
  return names;
}

function nameOf(node) {
  const leftmost = (name) => (name?.type === 'TSQualifiedName' ? leftmost(name.left) : name?.name);
  if (node.type === 'TSTypeReference') return leftmost(node.typeName);
  if (node.type === 'TSTypeQuery') return leftmost(node.exprName);
  if (node.type === 'TSInterfaceHeritage' || node.type === 'TSClassImplements') return leftmost(node.expression);
  if (node.type === 'ClassDeclaration' && node.superClass) return leftmost(node.superClass);
  return undefined;
}

function countDocstrings(folder) {
  let all = 0;
  const without = [];
  for (const file of declarationFiles(folder)) {
    for (const { names, documented, exported } of topLevel(file)) {
      if (!exported) continue;
      all += names.length;
      if (!documented) without.push(`${file} ${names.join(' ')}`);
    }
  }
  return { all, without };
}

function declarationFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return declarationFiles(file);
    return file.endsWith('.d.ts') ? [file] : [];
  });
}
