/**
 * `npm run demo:evaluate`: measures the demo model on scenes that it has never seen, through the SDK, with float and
 * with int4 weights. Standard output has the report; progress goes to standard error.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { isSdkError } from '#sdk/core/errors.js';
import { type LoadModelOptions, loadModel } from '#sdk/model/load-model.js';
import { QUANTIZE_GROUP_SIZES, type QuantizeMethod, quantizeCheckpoint } from '../quantize/index.js';
import { jsonTable, renderTable } from './report.js';
import { evaluateModel } from './run-model.js';
import { readScenes, renderScenes, type Scene, VARIANTS, type Variant } from './scenes.js';
import type { Scores } from './scores.js';

const demoModel = fileURLToPath(new URL('../../../examples/demo-model', import.meta.url));

const WEIGHTS = ['float', 'int4'] as const;
type Weights = (typeof WEIGHTS)[number];
const VISION = ['float', 'int8'] as const;
type Vision = (typeof VISION)[number];

interface Arguments {
  readonly scenes: number;
  readonly seed: string;
  readonly variant: Variant | 'all';
  readonly weights: Weights | 'both';
  readonly vision: Vision | 'both';
  readonly method: QuantizeMethod;
  readonly group: `${(typeof QUANTIZE_GROUP_SIZES)[number]}`;
  readonly backend: NonNullable<LoadModelOptions['backend']>;
  readonly threads?: number;
  readonly checkpoint: string;
  readonly folder?: string;
  readonly show: number;
  readonly json: boolean;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('Expected a whole number.');
  return value;
}

function parseArguments(argv: readonly string[]): Arguments {
  return new Command('demo:evaluate')
    .description('Measure the demo model on fresh scenes, through the SDK, float and int4 side by side.')
    .option('--scenes <number>', 'scenes of each variant', wholeNumber, 200)
    .option('--seed <text>', 'any text; other seeds give other scenes', '1')
    .addOption(new Option('--variant <name>', 'rendering').choices([...VARIANTS, 'all']).default('plain'))
    .addOption(new Option('--weights <kind>', 'weights to run').choices([...WEIGHTS, 'both']).default('both'))
    .addOption(
      new Option('--vision <precision>', 'vision tower; int8 on the cpu backend')
        .choices([...VISION, 'both'])
        .default('float'),
    )
    .addOption(
      new Option('--method <name>', 'how int4 is made; awq calibrates with the pictures beside the checkpoint')
        .choices(['rtn', 'awq'])
        .default('rtn'),
    )
    .addOption(
      new Option('--group <size>', 'weights of int4 that share a scale')
        .choices(QUANTIZE_GROUP_SIZES.map(String))
        .default('128'),
    )
    .addOption(new Option('--backend <name>', 'engine').choices(['auto', 'cpu', 'onnx']).default('auto'))
    .option('--threads <number>', 'threads of the engine', wholeNumber)
    .option('--checkpoint <folder>', 'model to measure', join(demoModel, 'checkpoint'))
    .option('--folder <folder>', 'scenes that make_eval.py has written; nothing is rendered then')
    .option('--show <number>', 'print so many answers that differ from the reference', wholeNumber, 0)
    .option('--json', 'end with one line of JSON: {"float": {…}, "int4": {…}}', false)
    .addHelpText('after', '\nExample:\n  npm run demo:evaluate -- --scenes 1000 --seed kitchen --variant all --json')
    .parse([...argv])
    .opts<Arguments>();
}

interface VariantScenes {
  readonly variant: string;
  readonly folder: string;
  readonly scenes: readonly Scene[];
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text}\x1b[K`);
}

async function prepareScenes(args: Arguments, temporary: string): Promise<VariantScenes[]> {
  if (args.folder !== undefined) {
    const scenes = (await readScenes(args.folder)).slice(0, args.scenes);
    return [{ variant: 'folder', folder: args.folder, scenes }];
  }
  const prepared: VariantScenes[] = [];
  for (const variant of args.variant === 'all' ? VARIANTS : [args.variant]) {
    progress(`rendering ${args.scenes} scenes, ${variant}`);
    const folder = join(temporary, `scenes-${variant.replace(':', '-')}`);
    const generator = join(demoModel, 'training', 'make_eval.py');
    await renderScenes(generator, { count: args.scenes, seed: args.seed, variant, folder });
    prepared.push({ variant, folder, scenes: await readScenes(folder) });
  }
  return prepared;
}

/** What is measured: kinds of weights, of the text and of the vision tower. */
interface Contender {
  readonly name: string;
  readonly weights: Weights;
  readonly vision: Vision;
}

function contendersOf(args: Arguments): Contender[] {
  const all = WEIGHTS.flatMap((weights) => VISION.map((vision) => ({ weights, vision })));
  return all
    .filter(({ weights }) => args.weights === 'both' || args.weights === weights)
    .filter(({ vision }) => args.vision === 'both' || args.vision === vision)
    .map((each) => ({ ...each, name: each.vision === 'float' ? each.weights : `${each.weights}, int8 vision` }));
}

/** Scores of one of them, a variant each. */
async function measure(
  args: Arguments,
  { name, weights, vision }: Contender,
  sets: readonly VariantScenes[],
  temporary: string,
): Promise<Map<string, Scores>> {
  let directory = args.checkpoint;
  if (weights === 'int4') {
    progress('quantising to int4');
    const { checkpoint: source, method } = args;
    const groupSize = Number(args.group) as (typeof QUANTIZE_GROUP_SIZES)[number];
    const output = join(temporary, `int4-${vision}-vision`);
    directory = (await quantizeCheckpoint({ source, output, method, groupSize })).directory;
  }
  const cacheDirectory = join(temporary, 'cache'); // nothing of an evaluation stays
  const { backend, threads } = args;
  await using model = await loadModel(directory, { backend, threads, cacheDirectory, vision: { precision: vision } });
  const { engine } = model.info;
  console.log(
    `${name}: backend ${engine.backend} on ${engine.device}, ${engine.weights} weights, ${'vision' in engine ? engine.vision : 'remote'} vision`,
  );
  const results = new Map<string, Scores>();
  let toShow = args.show;
  for (const { variant, folder, scenes } of sets) {
    const startedMs = performance.now();
    const scores = await evaluateModel(model, scenes, folder, {
      onScene: (done, total) => progress(`${name}, ${variant}: ${done}/${total} scenes`),
      onDifference: ({ image, question, expected, said }) => {
        if (toShow-- > 0) console.log(`  ${variant} ${image} | ${question} | ${expected} | ${said}`);
      },
    });
    progress('');
    const seconds = (performance.now() - startedMs) / 1000;
    console.log(`${name}, ${variant}: ${scenes.length} scenes in ${seconds.toFixed(1)} s`);
    results.set(variant, scores);
  }
  return results;
}

function report(sets: readonly VariantScenes[], results: ReadonlyMap<string, ReadonlyMap<string, Scores>>): void {
  for (const { variant, scenes } of sets) {
    const columns = [...results].map(([title, byVariant]) => ({ title, table: byVariant.get(variant)!.table() }));
    const [first] = results.values();
    console.log(`\n${variant}, ${scenes.length} scenes\n${renderTable(columns, first!.get(variant)!.counts())}`);
    for (const [name, byVariant] of results) {
      const scores = byVariant.get(variant)!;
      const pairs = scores.confusion().map(({ there, said, times }) => `${there} → ${said} ${times}`);
      console.log(`${name}: classes confused in captions: ${pairs.slice(0, 10).join(', ') || 'none'}`);
      const { named, there } = scores.heldOut();
      if (there > 0) console.log(`${name}: pairs that training never showed, named in captions: ${named} of ${there}`);
    }
  }
}

/** The first variant at the top; with several, all of them under `variants` of each column as well. */
function jsonLine(sets: readonly VariantScenes[], results: ReadonlyMap<string, ReadonlyMap<string, Scores>>): string {
  const entries = [...results].map(([name, byVariant]) => {
    const tables = sets.map(({ variant }) => [variant, jsonTable(byVariant.get(variant)!.table())] as const);
    const variants = sets.length > 1 ? { variants: Object.fromEntries(tables) } : {};
    return [name, { ...tables[0]![1], ...variants }];
  });
  return JSON.stringify(Object.fromEntries(entries));
}

async function main(argv: readonly string[]): Promise<void> {
  const args = parseArguments(argv);
  const temporary = await mkdtemp(join(tmpdir(), 'scenebus-evaluate-'));
  try {
    const sets = await prepareScenes(args, temporary);
    const results = new Map<string, Map<string, Scores>>();
    for (const contender of contendersOf(args)) {
      results.set(contender.name, await measure(args, contender, sets, temporary));
    }
    report(sets, results);
    if (args.json) console.log(jsonLine(sets, results));
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

try {
  await main(process.argv);
} catch (error) {
  console.error(isSdkError(error) ? `${error.code}: ${error.message}` : error);
  process.exitCode = 1;
}
