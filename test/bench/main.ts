/**
 * Benchmarks; `--help` says which. Each prints a table and writes its results as JSON with a description of the machine.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { engineAddon, packageRoot } from '#sdk/native/index.js';
import { type BandwidthProbe, startBandwidthProbe } from './bandwidth.js';
import { BENCHMARKS } from './benchmarks.js';
import { benchCapture, benchGate } from './capture.js';
import { benchConsole } from './console.js';
import { benchContext } from './context.js';
import { benchDevice } from './device.js';
import { benchGrammar } from './grammar.js';
import { benchGrounding } from './grounding/index.js';
import { groundingMarkdown } from './grounding/markdown.js';
import { runJetsonForecast } from './jetson-forecast.js';
import { besideLines, kernelReportOf } from './kernel-forecast.js';
import { benchProcess } from './process.js';
import { benchQuantize } from './quantize.js';
import { benchRetrieval } from './retrieval.js';
import { benchSceneStream } from './scene-stream.js';
import { benchServe } from './serve.js';
import { type ShapeName, TEXT_SHAPES } from './shapes.js';
import { benchSoak } from './soak.js';
import { benchText } from './text.js';
import { benchVision } from './vision.js';
import { benchWatches } from './watches.js';
import { benchWholeModel } from './whole-model.js';

const USAGE = `npm run bench -- [decode] [prefill] [verify] [load] [--shape 1b|8b|11b] [options]
    the cpu engine against ONNX Runtime and llama.cpp; 11b: the whole model with one image, loads and memory
npm run bench -- vision [--layers N] [--tiles 1|2|3|4] [--rounds N]
    the vision tower of the 11B model: in float with and without merged copies, in int8; how soon an abort ends it
npm run bench -- quantize [--method rtn|awq] [--layers N] [--pictures N]
    scenebus quantize at the sizes of the 11B model (all 40 text layers: 21 GB; awq: 2), time and memory
npm run bench -- grammar [--rounds N]
    what an answer's schema costs at a vocabulary of 128 256 tokens: compiling, and the mask of each token
npm run bench -- grounding [--scenes 2000] [--zeroed-scenes 300] [--seed TEXT] [--resume FILE] [--report FOLDER]
    places of things in fresh demo scenes at int4 by text, attention and detector, verified or not; what scores are worth;
    numbers of things on the clip. Resumable: what was found out is kept scene by scene
npm run bench -- retrieval [--scenes 200] [--seed TEXT]
    fresh demo scenes at int4, found again by what is known of them: by words, by words and likelihood, by likelihood; and
    the sentence of a scene among all. Resumable
npm run bench -- context [--tokens 32768] [--layers 1] [--scenes 16]
    memory of a long prompt in slices at the 8B decoder's sizes; what K/V in float16 and int8 change of predictions
npm run bench -- scene-stream [--backend cpu|onnx] [--rounds N] [--prompt TEXT] [--seconds N] [--verify FILE]
    the demo model describes the sample clip with and without drafting; replayed with times of published shapes
npm run bench -- watches [--backend cpu|onnx] [--seconds N]
    ten standing questions about a frame beside one, and beside ten that are written
npm run bench -- capture [--address A] [--seconds N]
    what a camera costs, and the frame gate
npm run bench -- console [--rounds N] [--seconds N]
    the console in a real browser (Debian's chromium): its page, the moving picture, what the service pays for viewers
npm run bench -- process [--rounds N]
    what a process of its own costs a model
npm run bench -- serve [--rounds N]
    what OpenAI's API costs beside the SDK: first token and whole answer of scenebus serve, in turn
npm run bench -- device [--address A] [--seconds N] [--rounds N]
    a whole device with a broker: what it costs while nothing changes, by process, and a question beside the engine
npm run bench -- soak [--minutes 30]
    a device at work, with a fault now and then: memory and handles of all its processes; fails when they grow
npm run bench -- kernels [--emulate]
    the CUDA kernels, tested and measured on this machine's GPU, beside what jetson-forecast predicts
npm run bench -- jetson-forecast [--board agx-orin-64|orin-nx-16|orin-nano-8]
    what the 11B model should take on a Jetson, from bytes and operations of every launch; measures nothing

options:
  --group 32|64|128   weights that share a scale (128)
  --rounds N          every contender in turn, so often (3)
  --tokens N          of decode, prefill and verify only those with so many tokens; may be repeated
  --without NAME      leave out own, onnx or llama; may be repeated
  --context N         tokens that caches have room for (4224); benchmarks that need more are left out
  --threads N         (physical cores)
  --json FILE         results (.scenebus/bench/results-….json)

Weights and prepared files stay in .scenebus/bench (8b: 15 GB, 11b: 17 GB).`;

if (process.argv[2] === 'jetson-forecast') process.exit(runJetsonForecast(process.argv.slice(3)));
if (process.argv[2] === 'kernels') process.exit(await runKernelHarness(process.argv.slice(3)));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h' },
    shape: { type: 'string', default: '1b' },
    group: { type: 'string', default: '128' },
    rounds: { type: 'string' },
    threads: { type: 'string' },
    context: { type: 'string' },
    layers: { type: 'string' },
    method: { type: 'string', default: 'rtn' },
    pictures: { type: 'string' },
    tiles: { type: 'string' },
    backend: { type: 'string', default: 'auto' },
    prompt: { type: 'string' },
    seconds: { type: 'string' },
    minutes: { type: 'string' },
    verify: { type: 'string' },
    address: { type: 'string' },
    scenes: { type: 'string' },
    'zeroed-scenes': { type: 'string' },
    seed: { type: 'string', default: '1' },
    resume: { type: 'string' },
    report: { type: 'string' },
    without: { type: 'string', multiple: true, default: [] },
    tokens: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
  },
});
if (values.help === true) {
  console.log(USAGE);
  process.exit();
}
const directory = path.join(packageRoot(), '.scenebus', 'bench');
mkdirSync(directory, { recursive: true });
const features = engineAddon().cpuFeatures();
const threads = numberOf('threads', features.physicalCores);
const rounds = numberOf('rounds', 3);
const tokens = values.tokens.map((given) => wholeNumber('tokens', given));
for (const name of values.without) oneOf('--without', name, ['own', 'onnx', 'llama']);
const groupSize = Number(oneOf('--group', values.group, ['32', '64', '128']));

/** What has a run of its own; benchmarks of the text decoder run together, so that weights are opened once. */
const ALONE: Readonly<Record<string, () => Promise<void>>> = {
  vision,
  quantize,
  'scene-stream': sceneStream,
  watches,
  grammar,
  grounding,
  retrieval,
  context,
  capture,
  console: fieldConsole,
  process: modelProcess,
  serve,
  device,
  soak,
};
const ofText = [...Object.keys(BENCHMARKS), 'load'];
const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
for (const name of names) oneOf('a benchmark', name, [...ofText, ...Object.keys(ALONE), 'kernels']);
for (const [name, run] of Object.entries(ALONE)) if (names.includes(name)) await run();
const text = names.filter((name) => ofText.includes(name));
if (text.length > 0) await (values.shape === '11b' ? wholeModel() : textDecoder(text));

async function runKernelHarness(options: readonly string[]): Promise<number> {
  const program = path.join(packageRoot(), 'native', 'build', 'native', 'gpu', 'kernels', 'kernelHarness');
  if (!existsSync(program)) fail('the harness, which `npm run build:native` builds,', program);
  const child = spawn(program, ['--test', '--bench', ...options], { stdio: ['inherit', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    process.stdout.write(text);
    output += text;
  });
  const status = await new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? 1)));
  const report = kernelReportOf(output);
  // The emulation runs other sizes, and its times say nothing.
  if (report !== undefined && !options.includes('--emulate')) console.log(besideLines(report).join('\n'));
  return status;
}

async function vision(): Promise<void> {
  const [layers, numTiles] = [numberOf('layers', 2), numberOf('tiles', 1)];
  if (numTiles > 4) fail('tiles of 1 to 4', values.tiles!);
  await withProbe(async (probe) => {
    const before = await probe.measure();
    const results = await benchVision({ directory, threads, rounds, layers, numTiles });
    write('vision', { layers, numTiles, bandwidths: [before, await probe.measure()], results });
  });
}

async function quantize(): Promise<void> {
  const method = oneOf('--method', values.method, ['rtn', 'awq'] as const);
  const layers = numberOf('layers', method === 'rtn' ? 40 : 2);
  const options = { method, layers, groupSize, pictures: numberOf('pictures', 2) };
  write(`quantize-${method}`, { ...options, ...(await benchQuantize({ directory, ...options })) });
}

async function context(): Promise<void> {
  const [prompt] = tokens;
  const sizes = { tokens: prompt ?? 32_768, layers: numberOf('layers', 1), scenes: numberOf('scenes', 16) };
  const result = await benchContext({ directory, groupSize, threads, ...sizes });
  console.log(result);
  write('context', result);
}

async function retrieval(): Promise<void> {
  const { seed } = values;
  const result = await benchRetrieval({ scenes: numberOf('scenes', 200), seed, directory, threads });
  console.log(result);
  write('retrieval', result);
}

async function sceneStream(): Promise<void> {
  const backend = oneOf('--backend', values.backend, ['auto', 'cpu', 'onnx'] as const);
  const { prompt, verify } = values;
  await withProbe(async (probe) => {
    const options = { backend, rounds, prompt, verify, seconds: numberOf('seconds', 60), probe };
    write('scene-stream', { backend, prompt, ...(await benchSceneStream(options)) });
  });
}

async function watches(): Promise<void> {
  const backend = oneOf('--backend', values.backend, ['auto', 'cpu', 'onnx'] as const);
  write('watches', { backend, ...(await benchWatches({ backend, seconds: numberOf('seconds', 20) })) });
}

async function modelProcess(): Promise<void> {
  write('process', { results: await benchProcess(numberOf('rounds', 50)) });
}

async function serve(): Promise<void> {
  write('serve', { results: await benchServe(numberOf('rounds', 50)) });
}

async function device(): Promise<void> {
  const { address = 'test:still' } = values;
  write('device', await benchDevice(address, numberOf('seconds', 60), numberOf('rounds', 50)));
}

async function soak(): Promise<void> {
  const result = await benchSoak(numberOf('minutes', 30));
  write('soak', result);
  const { lost, unmarked, outOfOrder, grown, errorCodes, unanswered } = result;
  console.log(`lost ${lost.length}, repeated without a mark ${unmarked.length}, out of order ${outOfOrder.length}`);
  console.log(`refused with ${JSON.stringify(errorCodes)}; never answered ${unanswered}`);
  for (const line of grown) console.log(`grown: ${line}`);
  if (lost.length + unmarked.length + outOfOrder.length + grown.length > 0) process.exitCode = 1;
}

async function grammar(): Promise<void> {
  write('grammar', await benchGrammar(numberOf('rounds', 20)));
}

async function grounding(): Promise<void> {
  const { seed, resume, report = path.join(directory, 'grounding', `report-${values.seed}`) } = values;
  if (!/^[\w-]{1,64}$/.test(seed)) fail('--seed of letters, digits and -', seed);
  const [scenes, zeroedScenes] = [numberOf('scenes', 2000), numberOf('zeroed-scenes', 300)];
  const result = await benchGrounding({ scenes, zeroedScenes, seed, directory, resume, report, threads });
  console.log(groundingMarkdown(result));
  write('grounding', result);
}

async function capture(): Promise<void> {
  const { address = 'test:moving' } = values;
  const results = await benchCapture(address, numberOf('seconds', 10));
  write('capture', { address, results, gate: benchGate(500) });
}

async function fieldConsole(): Promise<void> {
  write('console', await benchConsole(rounds, numberOf('seconds', 8)));
}

async function textDecoder(benchmarks: readonly string[]): Promise<void> {
  const shapes = [...Object.keys(TEXT_SHAPES), '11b'];
  const shape = oneOf('--shape', values.shape, shapes) as ShapeName;
  const { without } = values;
  const contextLength = numberOf('context', 4224);
  const options = { directory, shape, groupSize, rounds, threads, without, tokens, cacheDirectory: directory };
  await withProbe(async (probe) => {
    write(shape, {
      shape,
      group: groupSize,
      results: await benchText(benchmarks, { ...options, contextLength, probe }),
    });
  });
}

/** Loads, decoding and verifying in one run, whichever of them is asked for: opening the model takes longest. */
async function wholeModel(): Promise<void> {
  await withProbe(async (probe) => {
    const result = await benchWholeModel({ directory, groupSize, threads, rounds, probe });
    write('whole-11b', { shape: '11b', group: groupSize, ...result });
  });
}

async function withProbe(run: (probe: BandwidthProbe) => Promise<void>): Promise<void> {
  const probe = startBandwidthProbe(threads);
  try {
    await run(probe);
  } finally {
    probe.close();
  }
}

function write(name: string, results: object): void {
  const machine = {
    ...features,
    threads,
    rounds,
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

type NumberOption =
  | 'rounds'
  | 'threads'
  | 'context'
  | 'layers'
  | 'pictures'
  | 'tiles'
  | 'seconds'
  | 'minutes'
  | 'scenes'
  | 'zeroed-scenes';

function numberOf(option: NumberOption, otherwise: number): number {
  const given = values[option];
  return given === undefined ? otherwise : wholeNumber(option, given);
}

function wholeNumber(option: string, given: string): number {
  const count = Number(given);
  return Number.isInteger(count) && count >= 1 ? count : fail(`--${option} as a whole number from 1 on`, given);
}

function oneOf<Choice extends string>(what: string, given: string, choices: readonly Choice[]): Choice {
  return choices.find((choice) => choice === given) ?? fail(`${what} of ${choices.join(', ')}`, given);
}

function fail(expected: string, received: string): never {
  console.error(`Expected ${expected} but received "${received}".`);
  process.exit(2);
}
