/**
 * `npm run bench [-- decode|verify|prefill …] [--shape 1b|8b] [--group 32|64|128] [--rounds N] [--json FILE]`
 * `npm run bench -- vision [--layers N] [--tiles 1|2|3|4] [--rounds N]`
 * `npm run bench -- scene-stream …` (see scene-stream.ts)
 * `npm run bench -- kernels [--emulate]`: the CUDA kernels, tested and measured on this machine's GPU
 *
 * The cpu engine against ONNX Runtime on random weights of a published shape, in turn in one process; `vision`: the
 * vision tower with and without merged copies. Weights and prepared files stay in `.scenebus/bench` (8b: 10 GB).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { engineAddon, packageRoot } from '#sdk/native/index.js';
import { startBandwidthProbe } from './bandwidth.js';
import { BENCHMARKS, measure, type Result } from './benchmarks.js';
import { openOnnx, openOwn } from './contenders.js';
import { randomModel } from './random-model.js';
import { runSceneStream } from './scene-stream.js';
import { type ShapeName, TEXT_SHAPES } from './shapes.js';
import { benchVision } from './vision.js';

if (process.argv[2] === 'scene-stream') {
  await runSceneStream(process.argv.slice(3));
  process.exit();
}

if (process.argv[2] === 'kernels') process.exit(runKernelHarness(process.argv.slice(3)));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: 'string', default: '1b' },
    group: { type: 'string', default: '128' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string' },
    context: { type: 'string', default: '4224' },
    layers: { type: 'string', default: '2' },
    tiles: { type: 'string', default: '1' },
    without: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
  },
});
const directory = path.join(packageRoot(), '.scenebus', 'bench');
const features = engineAddon().cpuFeatures();
const threads = Number(values.threads ?? features.physicalCores);

const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
const known = [...Object.keys(BENCHMARKS), 'vision'];
for (const name of names) if (!known.includes(name)) fail(`a benchmark of ${known}`, name);
if (names.includes('vision')) await vision();
const ofText = names.filter((name) => name !== 'vision');
if (ofText.length > 0) await text(ofText);

function runKernelHarness(options: readonly string[]): number {
  const program = path.join(packageRoot(), 'native', 'build', 'native', 'kernels', 'kernelHarness');
  if (!existsSync(program)) fail('the harness, which `npm run build:native` builds,', program);
  return spawnSync(program, ['--test', '--bench', ...options], { stdio: 'inherit' }).status ?? 1;
}

async function vision(): Promise<void> {
  const [layers, numTiles] = [Number(values.layers), Number(values.tiles)];
  if (!Number.isInteger(layers) || layers < 1) fail('layers as a whole number from 1 on', values.layers);
  if (![1, 2, 3, 4].includes(numTiles)) fail('tiles of 1 to 4', values.tiles);
  const results = await benchVision({ directory, threads, rounds: Number(values.rounds), layers, numTiles });
  write('vision', { layers, numTiles, results });
}

async function text(names: readonly string[]): Promise<void> {
  if (!Object.hasOwn(TEXT_SHAPES, values.shape)) fail(`a shape of ${Object.keys(TEXT_SHAPES)}`, values.shape);
  const shape = values.shape as ShapeName;
  const sizes = TEXT_SHAPES[shape];
  const options = { contextLength: Number(values.context), threads, cacheDirectory: directory };

  console.log(`weights of shape ${shape}, group ${values.group}, in ${directory}`);
  const model = await randomModel(directory, shape, Number(values.group));
  const contenders = [];
  if (!values.without.includes('own')) contenders.push(await openOwn(model, options));
  if (!values.without.includes('onnx')) contenders.push(await openOnnx(model, options));
  for (const { name, loadMs } of contenders) console.log(`${name}: opened in ${(loadMs / 1000).toFixed(1)} s`);

  const probe = startBandwidthProbe(threads);
  const cacheBytesPerToken = sizes.layers * sizes.keyValueHeads * sizes.headDim * 2 * 2;
  const results: Result[] = [];
  const headings = ['benchmark', 'contender', 'median ms', 'best ms', 'tokens/s', 'of roofline', 'GB/s'];
  console.log(line(headings));
  for (const benchmark of names.flatMap((name) => BENCHMARKS[name]!)) {
    if (benchmark.context + benchmark.tokens > options.contextLength) continue;
    for (const result of await measure(benchmark, {
      contenders,
      probe,
      rounds: Number(values.rounds),
      cacheBytesPerToken,
    })) {
      results.push(result);
      console.log(
        line([
          result.benchmark,
          result.contender,
          result.medianMs.toFixed(1),
          result.bestMs.toFixed(1),
          ((benchmark.tokens / result.medianMs) * 1000).toFixed(1),
          benchmark.tokens === 1 ? result.rooflineFraction.toFixed(2) : '',
          result.bandwidthGBs.toFixed(1),
        ]),
      );
    }
  }
  for (const contender of contenders) await contender.close();
  probe.close();
  write(shape, { shape, group: Number(values.group), results });
}

function write(name: string, results: object): void {
  const machine = { ...features, threads, memoryBytes: os.totalmem(), kernel: os.release(), node: process.version };
  const file = path.resolve(values.json ?? path.join(directory, `results-${name}-${Date.now()}.json`));
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ machine, ...results }, null, 2)}\n`);
  console.log(`written to ${file}`);
}

function line(cells: readonly string[]): string {
  const widths = [24, 24, 10, 9, 9, 12, 6];
  return cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' ');
}

function fail(expected: string, received: string): never {
  console.error(`Expected ${expected} but received "${received}".`);
  process.exit(2);
}
