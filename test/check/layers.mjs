/**
 * Which folder may import which, read from CONTRIBUTING.md: the page that people read is the rule that is checked.
 *
 * A line `name/  words -> a b` inside `parent/` lets files of parent/name import parent/a and parent/b, both of which
 * stand further down. An indented line is a folder of the line above it, which may import what its parent may and the
 * parent's own files. `everything below` is every line further down.
 */

/**
 * @typedef {{ name: string, allowed: string[] | 'below', children: Layer[] }} Layer
 * @typedef {{ tops: Map<string, string[]>, inside: Map<string, Layer[]> }} Layers
 */

/** @param {string} page CONTRIBUTING.md  @returns {Layers} */
export function readLayers(page) {
  return { tops: readTops(page), inside: readInside(page) };
}

/** The table of top-level folders: what stands in backticks in its last column. */
function readTops(page) {
  const tops = new Map();
  for (const [, folder, allowed] of page.matchAll(/^\| `([\w-]+)\/` \|.*\| ([^|]*) \|$/gm)) {
    tops.set(folder, allowed === 'all' ? ['*'] : [...allowed.matchAll(/`([\w-]+)`/g)].map(([, name]) => name));
  }
  return tops;
}

function readInside(page) {
  const inside = new Map();
  for (const [, parent, block] of page.matchAll(/^Inside `([\w-]+)\/`[^\n]*\n+```\n([\s\S]*?)```/gm)) {
    const layers = [];
    for (const line of block.split('\n')) {
      const match = /^(\s*)([\w-]+)\/\s+(.*)$/.exec(line);
      if (match === null) continue;
      const [, indent, name, rest] = match;
      const allowed = rest.includes('->') ? rest.slice(rest.lastIndexOf('->') + 2).trim() : '';
      const layer = {
        name,
        allowed: allowed === 'everything below' ? 'below' : allowed.split(/[\s,]+/).filter(Boolean),
        children: [],
      };
      (indent === '' ? layers : layers.at(-1).children).push(layer);
    }
    inside.set(parent, layers);
  }
  return inside;
}

/** What is wrong with the page itself: an arrow upward, or a name that is no folder. */
export function layerFaults({ inside }, folders) {
  const faults = [];
  const look = (layers, parent, outer) => {
    layers.forEach((layer, index) => {
      const below = layers.slice(index + 1).map(({ name }) => name);
      const above = layers.slice(0, index + 1).map(({ name }) => name);
      for (const name of layer.allowed === 'below' ? [] : layer.allowed) {
        if (above.includes(name)) faults.push(`${parent}/${layer.name} -> ${name}: the arrow points upward`);
        else if (!below.includes(name) && !outer.includes(name)) {
          faults.push(`${parent}/${layer.name} -> ${name}: no such folder further down`);
        }
      }
      if (!folders.has(`${parent}/${layer.name}`)) faults.push(`${parent}/${layer.name} is listed and not there`);
      look(layer.children, `${parent}/${layer.name}`, [...outer, ...below]);
    });
  };
  for (const [parent, layers] of inside) {
    look(layers, parent, ['sdk', 'calibration', 'scenebus', 'node']);
    const listed = new Set(layers.map(({ name }) => name));
    for (const folder of folders) {
      const [top, name, ...deeper] = folder.split('/');
      if (top === parent && name !== undefined && deeper.length === 0 && !listed.has(name))
        faults.push(`${folder} is there and not listed`);
    }
  }
  return faults;
}

/**
 * @param {Layers} layers
 * @param {{ from: string, to: string, specifier: string }[]} imports files, relative to the repository; `to` may be a
 *   public entry: `scenebus`, `scenebus/client`
 * @returns {string[]} one sentence for each import that is not allowed
 */
export function importFaults(layers, imports) {
  return imports.filter((one) => !isAllowed(layers, one)).map(({ from, to }) => `${from} imports ${to}`);
}

function isAllowed({ tops, inside }, { from, to }) {
  const fromParts = from.split('/');
  const toParts = to.split('/');
  const [top] = fromParts;
  const mayUse = tops.get(top);
  if (mayUse === undefined) return false;
  if (mayUse.includes('*')) return true;
  if (toParts[0] !== top) return mayUse.includes(toParts[0]);
  return isAllowedInside(inside.get(top), fromParts.slice(1), toParts.slice(1));
}

/** Walks down while both lie in the same folder; decides where their ways part. */
function isAllowedInside(layers, from, to) {
  if (layers === undefined || layers.length === 0) return true;
  // A file beside the folders: what gathers them (index) may use all of them.
  if (from.length === 1) return true;
  // The parent's own files serve its folders, but for the one that gathers them.
  if (to.length === 1) return to[0] !== 'index.ts';
  if (from[0] !== to[0]) return mayImport(layers, from[0], to[0]);
  const layer = layers.find(({ name }) => name === from[0]);
  return isAllowedInside(layer?.children, from.slice(1), to.slice(1));
}

function mayImport(layers, from, to) {
  const index = layers.findIndex(({ name }) => name === from);
  if (index === -1) return false;
  const { allowed } = layers[index];
  return allowed === 'below' ? layers.slice(index + 1).some(({ name }) => name === to) : allowed.includes(to);
}

/** Files that import each other in a circle, each circle once. */
export function circles(imports) {
  const next = new Map();
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to]);
  const found = [];
  const state = new Map();
  const path = [];
  const visit = (file) => {
    state.set(file, 'open');
    path.push(file);
    for (const to of next.get(file) ?? []) {
      if (state.get(to) === 'open') found.push([...path.slice(path.indexOf(to)), to]);
      else if (!state.has(to)) visit(to);
    }
    path.pop();
    state.set(file, 'done');
  };
  for (const file of next.keys()) if (!state.has(file)) visit(file);
  return found;
}
