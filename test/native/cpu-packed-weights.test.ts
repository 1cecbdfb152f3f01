/** The file of packed int4 weights: made once, found afterwards, rebuilt when it does not fit, safe when interrupted. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Logger, Progress } from '#sdk/core/logger.js';
import { openCpuDecoder } from '#sdk/engine/cpu/decoder.js';
import { openCpuEngine } from '#sdk/engine/index.js';
import { engineAddon, packageRoot } from '#sdk/native/index.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { maxDifference } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(realpathSync(tmpdir()), 'scenebus-packed-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { int4 } = makeInt4Checkpoint(path.join(GOLDEN, 'tiny-a'), folder, 64);
const checkpoint = await openCheckpoint(int4);

let cacheDirectory: string;
let cases = 0;
beforeEach(() => {
  cacheDirectory = path.join(folder, `cache-${cases++}`);
});
const options = (more: { signal?: AbortSignal; logger?: Logger; onProgress?: (progress: Progress) => void } = {}) => ({
  numerics: 'meta' as const,
  contextLength: 64,
  cacheDirectory,
  ...more,
});
const files = () => readdirSync(path.join(cacheDirectory, 'cpu'));
const packedWeightsPath = () => {
  const name = files().find((file) => file.endsWith('.weights'));
  return path.join(cacheDirectory, 'cpu', name!);
};

/** Prepares, and gives the place of the file. */
async function prepared(): Promise<string> {
  await openCpuDecoder(checkpoint, options());
  return packedWeightsPath();
}

async function logits(): Promise<Float32Array> {
  await using engine = await openCpuEngine(checkpoint, { cacheDirectory });
  return (await engine.createSequence().forward(Int32Array.of(500, 1, 2, 3), { images: [], logits: 'all' })).logits;
}

test('the first load makes the file with progress, the second finds it without', async () => {
  const progress: Progress[] = [];
  const onProgress = (p: Progress) => progress.push(p);
  expect((await openCpuDecoder(checkpoint, options({ onProgress }))).packed).toBe('created');
  await new Promise((resolve) => setImmediate(resolve)); // progress is sent from another thread
  const last = progress.at(-1);
  expect(last).toMatchObject({ phase: 'pack weights', unit: 'bytes' });
  expect(last?.done).toBe(last?.total);
  expect(progress.length).toBeGreaterThan(1);

  const before = readFileSync(packedWeightsPath());
  progress.length = 0;
  expect((await openCpuDecoder(checkpoint, options({ onProgress }))).packed).toBe('found');
  expect(progress).toEqual([]);
  expect(readFileSync(packedWeightsPath()).equals(before)).toBe(true);
  expect(files().filter((name) => name.endsWith('.partial'))).toEqual([]);
});

test.runIf(existsSync('/sys/kernel/mm/transparent_hugepage'))('large pages are asked for', async () => {
  const decoder = await openCpuDecoder(checkpoint, options());
  const [, mapping] = readFileSync('/proc/self/smaps', 'utf8').split(packedWeightsPath());
  expect(/VmFlags:(.*)/.exec(mapping!)?.[1]).toContain(' hg');
  engineAddon().releaseCpuHandle(decoder.handle);
});

test.each([
  ['cut short', () => truncateSync(packedWeightsPath(), 5000)],
  ['empty', () => truncateSync(packedWeightsPath(), 0)],
  [
    'of another version',
    () => {
      const bytes = readFileSync(packedWeightsPath());
      bytes[8] = 99;
      writeFileSync(packedWeightsPath(), bytes);
    },
  ],
  [
    'of another state of the checkpoint',
    () => {
      const bytes = readFileSync(packedWeightsPath());
      bytes[30] = bytes[30]! ^ 1; // a character of the key
      writeFileSync(packedWeightsPath(), bytes);
    },
  ],
])('a file %s is rebuilt, and that is logged', async (_, damage) => {
  const expected = await logits();
  damage();
  const messages: string[] = [];
  const logger: Logger = { log: (_level, message) => messages.push(message) };
  expect((await openCpuDecoder(checkpoint, options({ logger }))).packed).toBe('replaced');
  expect(messages.join()).toMatch(/has been rebuilt/);
  expect((await openCpuDecoder(checkpoint, options())).packed).toBe('found');
  expect(maxDifference(await logits(), expected)).toBe(0);
});

test('the two last used are kept, and what others may be about to map or are packing', async () => {
  const own = await prepared();
  const age = (file: string, minutes: number) => {
    const then = new Date(Date.now() - minutes * 60_000);
    utimesSync(path.join(cacheDirectory, 'cpu', file), then, then);
  };
  age(path.basename(own), 600); // it is used again now
  const minutes = {
    'new-1.weights': 2,
    'new-2.weights': 3,
    'old.weights': 120,
    'old.weights.lock': 120,
    'packing.weights.partial': 10,
    'killed.weights.partial': 120,
  };
  for (const [name, ageMinutes] of Object.entries(minutes)) {
    writeFileSync(path.join(cacheDirectory, 'cpu', name), '');
    age(name, ageMinutes);
  }
  expect((await openCpuDecoder(checkpoint, options())).packed).toBe('found');
  const kept = ['new-1.weights', 'new-2.weights', 'old.weights.lock', 'packing.weights.partial'];
  expect(files().sort()).toEqual([path.basename(own), `${path.basename(own)}.lock`, ...kept].sort());

  age('new-1.weights', 30);
  age('new-2.weights', 40);
  await openCpuDecoder(checkpoint, options());
  expect(
    files()
      .filter((name) => name.endsWith('.weights'))
      .sort(),
  ).toEqual([path.basename(own), 'new-1.weights'].sort());
});

test('what a killed preparation left behind is no obstacle', async () => {
  await openCpuDecoder(checkpoint, options());
  const [file, expected] = [packedWeightsPath(), readFileSync(packedWeightsPath())];
  rmSync(file);
  writeFileSync(`${file}.partial`, 'half a file');
  expect((await openCpuDecoder(checkpoint, options())).packed).toBe('created');
  expect(readFileSync(file).equals(expected)).toBe(true);
  expect(files().filter((name) => name.endsWith('.partial'))).toEqual([]);
});

test('a preparation that is killed blocks nobody, and the next one makes the file', async () => {
  const reference = readFileSync(await prepared());
  rmSync(path.join(cacheDirectory, 'cpu'), { recursive: true });
  // Holds the lock and half a file, as a preparation does, when it is killed.
  const root = packageRoot();
  const addonUrl = JSON.stringify(pathToFileURL(path.join(root, 'dist', 'sdk', 'engine', 'cpu', 'decoder.js')).href);
  const checkpointUrl = JSON.stringify(pathToFileURL(path.join(root, 'dist', 'sdk', 'checkpoint', 'index.js')).href);
  const program = `
    const { openCheckpoint } = await import(${checkpointUrl});
    const { openCpuDecoder } = await import(${addonUrl});
    await openCpuDecoder(await openCheckpoint(${JSON.stringify(int4)}), {
      numerics: 'meta', contextLength: 64, threads: 1, cacheDirectory: ${JSON.stringify(cacheDirectory)},
      onProgress: () => process.kill(process.pid, 'SIGKILL') });`;
  const killed = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  await expect(killed).rejects.toMatchObject({ signal: 'SIGKILL' });
  expect((await openCpuDecoder(checkpoint, options())).packed).toMatch(/created|found/);
  expect(readFileSync(packedWeightsPath()).equals(reference)).toBe(true);
  expect(files().filter((name) => name.endsWith('.partial'))).toEqual([]);
});

test.each(engineAddon().cpuFeatures().instructionSets)(
  'the file that another processor made serves one with %s kernels',
  async (instructionSet) => {
    const opened = await openCpuDecoder(checkpoint, { ...options(), instructionSet: 'scalar' });
    expect(opened.packed).toBe('created');
    const other = await openCpuDecoder(checkpoint, { ...options(), instructionSet: instructionSet as never });
    expect(other).toMatchObject({ packed: 'found', instructionSet });
  },
);

test('two processes that prepare at once end with one good file', async () => {
  const root = packageRoot();
  const moduleUrl = (name: string) => JSON.stringify(pathToFileURL(path.join(root, 'dist', 'sdk', name)).href);
  const program = `
    const { openCheckpoint } = await import(${moduleUrl('checkpoint/index.js')});
    const { openCpuDecoder } = await import(${moduleUrl('engine/cpu/decoder.js')});
    const opened = await openCpuDecoder(await openCheckpoint(${JSON.stringify(int4)}), {
      numerics: 'meta', contextLength: 64, cacheDirectory: ${JSON.stringify(cacheDirectory)} });
    console.log(opened.packed);`;
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  const outcomes = (await Promise.all([run(), run(), run()])).map(({ stdout }) => stdout.trim());
  expect(outcomes.filter((outcome) => outcome === 'created')).toHaveLength(1);
  expect(outcomes.filter((outcome) => outcome === 'found')).toHaveLength(2);
  expect((await openCpuDecoder(checkpoint, options())).packed).toBe('found');
});

test('an aborted preparation rejects with the reason and leaves no file', async () => {
  const reason = new Error('not now');
  const controller = new AbortController();
  const opening = openCpuDecoder(checkpoint, options({ signal: controller.signal }));
  controller.abort(reason);
  await expect(opening).rejects.toBe(reason);
  const left = files().filter((name) => !name.endsWith('.lock'));
  expect(left).toEqual([]);
});

test('a preparation stopped inside the addon leaves no file', async () => {
  mkdirSync(path.join(cacheDirectory, 'cpu'), { recursive: true });
  const { model } = checkpoint;
  const spec = {
    text: model.architecture.text,
    tensors: [...model.tensors].map(([name, location]) => ({ name, ...location })),
    maskedTokensAttend: false,
    contextLength: 64,
    threads: 1,
    instructionSet: '',
    keyValueType: 'f16',
    packedWeightsPath: path.join(cacheDirectory, 'cpu', 'stopped.weights'),
    packedKey: 'key',
  } as const;
  // Another process prepares them, so that the addon waits.
  const other = spawn('flock', [`${spec.packedWeightsPath}.lock`, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  other.stdin.write('locked');
  await once(other.stdout, 'data');
  const abort = new Int32Array(1);
  const opening = engineAddon().openCpuDecoder(spec, abort, () => {});
  abort[0] = 1;
  await expect(opening).rejects.toMatchObject({ code: 'ABORTED' });
  other.stdin.end();
  await once(other, 'close');
  expect(files()).toEqual(['stopped.weights.lock']);
});

test('a cache that cannot be written costs time, not function', async () => {
  const expected = await logits();
  writeFileSync(path.join(folder, 'not-a-folder'), '');
  cacheDirectory = path.join(folder, 'not-a-folder', 'cache');
  const messages: string[] = [];
  const logger: Logger = { log: (level, message) => messages.push(`${level}: ${message}`) };
  const opened = await openCpuDecoder(checkpoint, options({ logger }));
  expect(opened.packed).toBe('memory');
  expect(messages.join()).toMatch(/warn: .*in memory at every start/);
  const addon = engineAddon();
  const found = new Float32Array(4 * 512);
  const sequence = addon.createCpuSequence(opened.handle);
  const tokens = Int32Array.of(500, 1, 2, 3);
  await addon.forwardCpu(opened.handle, sequence, tokens, [], new Int32Array(), 'all', found, new Int32Array(1));
  expect(maxDifference(found, expected)).toBe(0);
});

test('a file that cannot be written at the place of the packed one is said, and packed in memory', async () => {
  await openCpuDecoder(checkpoint, options());
  const file = packedWeightsPath();
  rmSync(file);
  mkdirSync(`${file}.partial`); // opening it for writing fails, whoever runs the test
  const messages: string[] = [];
  const logger: Logger = { log: (_level, message) => messages.push(message) };
  expect((await openCpuDecoder(checkpoint, options({ logger }))).packed).toBe('memory');
  expect(messages.join()).toMatch(/cacheDirectory/);
});

test('scales that are not finite are refused while packing', async () => {
  const tensors = new Map(checkpoint.model.tensors);
  const name = 'language_model.model.layers.0.mlp.up_proj.weight_scale';
  const scale = tensors.get(name)!;
  const broken = path.join(folder, 'nan.bin');
  writeFileSync(broken, new Uint8Array(new Float32Array(scale.sizeBytes / 4).fill(Number.NaN).buffer));
  tensors.set(name, { ...scale, file: broken, offsetBytes: 0 });
  const sick = { ...checkpoint, model: { ...checkpoint.model, tensors } };
  await expect(openCpuDecoder(sick, options())).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
});
