/**
 * Benchmarks; `--help` says which. The cpu engine against ONNX Runtime and llama.cpp on random weights of a published
 * shape does the same work in turn in one process tree.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { engineAddon, packageRoot } from '#sdk/native/index.js';
import { startBandwidthProbe } from './bandwidth.js';
import { BENCHMARKS } from './benchmarks.js';
import { benchQuantize } from './quantize.js';
import { runSceneStream } from './scene-stream.js';
import { type ShapeName, TEXT_SHAPES } from './shapes.js';
import { benchText } from './text.js';
import { benchVision } from './vision.js';
import { benchWholeModel } from './whole-model.js';

const USAGE = `npm run bench -- [decode] [prefill] [verify] [load] [--shape 1b|8b|11b] [options]
    the cpu engine against ONNX Runtime and llama.cpp; 11b: the whole model with one image, loads and memory
npm run bench -- vision [--layers N] [--tiles 1|2|3|4] [--rounds N]
    the vision tower of the 11B model, with and without merged copies
npm run bench -- quantize [--method rtn|awq] [--layers N] [--pictures N]
    scenebus quantize at the sizes of the 11B model (all 40 text layers: 21 GB; awq: 2), time and memory
npm run bench -- scene-stream …                      see test/bench/scene-stream.ts
npm run bench -- kernels [--emulate]                 the CUDA kernels, tested and measured on this machine's GPU
npm run bench -- capture [address] [seconds]         see test/bench/capture-cost.ts

options:
  --group 32|64|128   weights that share a scale (128)
  --rounds N          every contender in turn, so often (3)
  --tokens N          of decode, prefill and verify only those with so many tokens; may be repeated
  --without NAME      leave out own, onnx or llama; may be repeated
  --context N         tokens that caches have room for (4224); benchmarks that need more are left out
  --threads N         (physical cores)
  --json FILE         results (.scenebus/bench/results-….json)

Weights and prepared files stay in .scenebus/bench (8b: 15 GB, 11b: 17 GB).`;

if (['--help', '-h'].includes(process.argv[2] ?? '')) {
  console.log(USAGE);
  process.exit();
}
if (process.argv[2] === 'scene-stream') {
  await runSceneStream(process.argv.slice(3));
  process.exit();
}
if (process.argv[2] === 'capture') {
  process.argv.splice(2, 1);
  await import('./capture-cost.js');
  process.exit();
}

if (process.argv[2] === 'kernels') process.exit(runKernelHarness(process.argv.slice(3)));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: 'string', default: '1b' },
    group: { type: 'string', default: '128' },
    rounds: { type: 'string' },
    threads: { type: 'string' },
    context: { type: 'string', default: '4224' },
    layers: { type: 'string' },
    method: { type: 'string', default: 'rtn' },
    pictures: { type: 'string' },
    tiles: { type: 'string', default: '1' },
    without: { type: 'string', multiple: true, default: [] },
    tokens: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
  },
});
const directory = path.join(packageRoot(), '.scenebus', 'bench');
const features = engineAddon().cpuFeatures();
const threads = Number(values.threads ?? features.physicalCores);
const rounds = countOf('rounds', 3);

const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
const ofText = [...Object.keys(BENCHMARKS), 'load'];
for (const name of names) {
  if (!['vision', 'quantize', ...ofText].includes(name))
    fail(`a benchmark of ${[...ofText, 'vision', 'quantize', 'scene-stream', 'capture', 'kernels']}`, name);
}
for (const name of values.without) if (!['own', 'onnx', 'llama'].includes(name)) fail('own, onnx or llama', name);
const tokens = values.tokens.map((given) => wholeNumber('tokens', given));
if (names.includes('vision')) await vision();
if (names.includes('quantize')) await quantize();
const text = names.filter((name) => ofText.includes(name));
if (text.length > 0) await (values.shape === '11b' ? wholeModel() : textDecoder(text));

function runKernelHarness(options: readonly string[]): number {
  const program = path.join(packageRoot(), 'native', 'build', 'native', 'kernels', 'kernelHarness');
  if (!existsSync(program)) fail('the harness, which `npm run build:native` builds,', program);
  return spawnSync(program, ['--test', '--bench', ...options], { stdio: 'inherit' }).status ?? 1;
}

async function vision(): Promise<void> {
  const [layers, numTiles] = [countOf('layers', 2), Number(values.tiles)];
  if (![1, 2, 3, 4].includes(numTiles)) fail('tiles of 1 to 4', values.tiles);
  const results = await benchVision({ directory, threads, rounds, layers, numTiles });
  write('vision', { layers, numTiles, results });
}

async function quantize(): Promise<void> {
  const { method } = values;
  if (method !== 'rtn' && method !== 'awq') fail('the method rtn or awq', method);
  const layers = countOf('layers', method === 'rtn' ? 40 : 2);
  const options = { method, layers, groupSize: Number(values.group), pictures: countOf('pictures', 2) } as const;
  write(`quantize-${method}`, { ...options, ...(await benchQuantize({ directory, ...options })) });
}

async function textDecoder(benchmarks: readonly string[]): Promise<void> {
  const shapes = Object.keys(TEXT_SHAPES);
  if (!shapes.includes(values.shape)) fail(`a shape of ${[...shapes, '11b']}`, values.shape);
  const shape = values.shape as ShapeName;
  const groupSize = Number(values.group);
  const { without } = values;
  const options = { directory, shape, groupSize, rounds, threads, without, tokens, cacheDirectory: directory };
  const probe = startBandwidthProbe(threads);
  const results = await benchText(benchmarks, { ...options, contextLength: Number(values.context), probe });
  probe.close();
  write(shape, { shape, group: groupSize, results });
}

/** Loads, decoding and verifying in one run, whichever of them is asked for: opening the model takes longest. */
async function wholeModel(): Promise<void> {
  const probe = startBandwidthProbe(threads);
  const groupSize = Number(values.group);
  const result = await benchWholeModel({ directory, groupSize, threads, rounds, probe });
  probe.close();
  write('whole-11b', { shape: '11b', group: groupSize, ...result });
}

function write(name: string, results: object): void {
  const machine = {
    ...features,
    threads,
    memoryBytes: os.totalmem(),
    loadAverage: os.loadavg(),
    kernel: os.release(),
    node: process.version,
  };
  const file = path.resolve(values.json ?? path.join(directory, `results-${name}-${Date.now()}.json`));
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ machine, ...results }, null, 2)}\n`);
  console.log(`written to ${file}`);
}

function countOf(option: 'rounds' | 'layers' | 'pictures', otherwise: number): number {
  const given = values[option];
  return given === undefined ? otherwise : wholeNumber(option, given);
}

function wholeNumber(option: string, given: string): number {
  const count = Number(given);
  return Number.isInteger(count) && count >= 1 ? count : fail(`${option} as a whole number from 1 on`, given);
}

function fail(expected: string, received: string): never {
  console.error(`Expected ${expected} but received "${received}".`);
  process.exit(2);
}
