/**
 * The C++ side of `imports.mjs`: what a file of `native/` includes, and which headers only one part may include.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Headers of others, and the folders that alone know them. */
const SOLE_INCLUDERS = [
  { what: 'Node-API', header: /^(napi|node_api|js_native_api|node|uv|v8)\.h$/, folders: ['addon', 'tests/addon'] },
  { what: 'OpenCV', header: /^opencv2\//, folders: ['capture', 'lens', 'addon/capture', 'addon/lens'] },
  { what: 'TensorRT', header: /^Nv(Infer|Onnx)/, folders: ['tensorrt/nvinfer', 'tests/tensorrt/nvinfer'] },
];

/** @returns {string[]} C++ and CUDA files, relative to the repository */
export function nativeFiles(folder = 'native') {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return isBuild(file) ? [] : nativeFiles(file);
    return /\.(h|cpp|cu|in)$/.test(entry.name) ? [file] : [];
  });
}

/** `native/build` and its variants, which are not ours. */
export function isBuild(folder) {
  return /^native\/build/.test(folder);
}

/** What a file includes of `native/`, as imports of `layers.mjs`. Includes are relative to `native/`. */
export function includesOf(file, text = readFileSync(file, 'utf8')) {
  return [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map(([, specifier]) => ({
    from: file,
    to: `native/${specifier}`,
    specifier,
  }));
}

/** One sentence for each header of others that a file may not know. */
export function includeFaults(file, text = readFileSync(file, 'utf8')) {
  return [...text.matchAll(/^\s*#\s*include\s+<([^>]+)>/gm)].flatMap(([, header]) => {
    const rule = SOLE_INCLUDERS.find((sole) => sole.header.test(header));
    if (rule === undefined || rule.folders.some((folder) => file.startsWith(`native/${folder}/`))) return [];
    return [`${file} includes ${header}: only ${rule.folders.join(' and ')} may know ${rule.what}`];
  });
}

/** Folders instead of files, each pair once, to find circles between them. */
export function betweenFolders(includes) {
  const folderOf = (file) => file.slice(0, file.lastIndexOf('/'));
  const pairs = new Map();
  for (const { from, to } of includes) {
    const pair = { from: folderOf(from), to: folderOf(to) };
    if (pair.from !== pair.to) pairs.set(`${pair.from} ${pair.to}`, pair);
  }
  return [...pairs.values()];
}
