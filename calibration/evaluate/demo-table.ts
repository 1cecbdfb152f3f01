/**
 * `npm run demo:compare`: what int4 costs the demo model on public metrics, and where boxes are best taken from: fresh
 * scenes as data sets, each model's answers, and one table, which `--write` puts between the marks of a page.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { isSdkError, SdkError } from '#sdk/core/errors.js';
import { type LoadModelOptions, loadModel } from '#sdk/model/load-model.js';
import { quantizeCheckpoint } from '../quantize/index.js';
import { type ComparedMeasure, type Comparison, compareAnswers } from './compare.js';
import { type DemoDataSet, writeDemoDataSets } from './demo-data-sets.js';
import { evaluate } from './evaluate.js';
import { readScenes, renderScenes } from './scenes.js';

const demoModel = fileURLToPath(new URL('../../../examples/demo-model', import.meta.url));
const MARKS = ['<!-- npm run demo:compare -->', '<!-- end of demo:compare -->'] as const;

interface Arguments {
  readonly scenes: string;
  readonly seed: string;
  readonly work?: string;
  readonly write?: string;
}

interface Column {
  readonly title: string;
  readonly folder: () => Promise<string>;
  readonly options?: Pick<LoadModelOptions, 'grounder'>;
  /** Default: all. */
  readonly tasks?: readonly DemoDataSet['task'][];
}

function columnsOf(work: string): readonly Column[] {
  const source = join(demoModel, 'checkpoint');
  const int4 = (method: 'rtn' | 'awq') => async () => {
    const output = join(work, `int4-${method}`);
    // An earlier run's: a folder has its name only when it is whole.
    if (existsSync(join(output, 'config.json'))) return output;
    return (await quantizeCheckpoint({ source, output, method })).directory;
  };
  const folder = async () => source;
  return [
    { title: 'float', folder },
    { title: 'int4 rtn', folder: int4('rtn') },
    { title: 'int4 awq', folder: int4('awq') },
    { title: 'boxes by attention', folder, options: { grounder: 'attention' }, tasks: ['refcoco', 'absent'] },
  ];
}

async function main(argv: readonly string[]): Promise<void> {
  const args = new Command('demo:compare')
    .description('Compare the demo model with float and int4 weights on fresh scenes, by public metrics.')
    .option('--scenes <number>', 'so many', '100')
    .option('--seed <text>', 'any text; other seeds give other scenes', 'compare')
    .option('--work <folder>', 'keep everything there; a stopped run goes on')
    .option('--write <page>', `put the table between ${MARKS.join(' and ')}`)
    .parse([...argv])
    .opts<Arguments>();
  const work = args.work ?? (await mkdtemp(join(tmpdir(), 'scenebus-compare-')));
  try {
    const table = await tableOf(args, work);
    console.log(table);
    if (args.write !== undefined) await putInto(args.write, table);
  } finally {
    if (args.work === undefined) await rm(work, { recursive: true, force: true });
  }
}

async function tableOf({ scenes: count, seed }: Arguments, work: string): Promise<string> {
  const folder = join(work, `scenes-${count}-${seed.replaceAll(/\W/g, '_')}`);
  await mkdir(work, { recursive: true });
  const scenes = await readScenes(folder).catch(async () => {
    const generator = join(demoModel, 'training', 'make_eval.py');
    await renderScenes(generator, { count: Number(count), seed, variant: 'plain', folder });
    return await readScenes(folder);
  });
  const sets = await writeDemoDataSets(scenes, folder);
  const columns = columnsOf(work);
  const answers = new Map<string, string>();
  for (const { title, folder: made, options, tasks } of columns) {
    await using model = await loadModel(await made(), { ...options, cacheDirectory: join(work, 'cache') });
    for (const { task, data, prompt } of sets) {
      if (tasks !== undefined && !tasks.includes(task)) continue;
      const results = join(work, `${count}-${seed}-${task}-${title.replaceAll(' ', '-')}.jsonl`);
      const settings = options?.grounder === undefined ? {} : { grounder: String(options.grounder) };
      await evaluate(model, { task, data, prompt, results, settings });
      answers.set(`${title} ${task}`, results);
      console.error(`${title}: ${task} answered`);
    }
  }
  const comparisons = new Map<string, Comparison>();
  for (const { title } of columns.slice(1)) {
    for (const { task, data } of sets) {
      const [a, b] = [answers.get(`float ${task}`)!, answers.get(`${title} ${task}`)];
      if (b !== undefined) comparisons.set(`${title} ${task}`, await compareAnswers(a, b, { data }));
    }
  }
  const checkpoint = await openCheckpoint(join(demoModel, 'checkpoint'));
  return `${render(scenes.length, columns, sets, comparisons)}\n\n${noteOf(await checkpoint.identity(), seed)}`;
}

/** Which model the table is of: a test compares it with the one that is there. */
function noteOf(identity: string, seed: string): string {
  return `Difference to float and its 95 % interval in brackets, bold where it leaves 0 out. Demo model \`${identity.slice(0, 12)}\`, scenes of the seed \`${seed}\`.`;
}

/** Of each task the measures that say something here: all answers of a scene agree, and a box is always written. */
const PASSED_OVER: ReadonlySet<string> = new Set([
  'vqa accuracyNormalised',
  'refcoco answeredWithBox',
  'absent accuracy',
]);

function render(
  scenes: number,
  columns: readonly Column[],
  sets: readonly DemoDataSet[],
  comparisons: ReadonlyMap<string, Comparison>,
): string {
  const others = columns.slice(1);
  const rows = sets.flatMap(({ task }) => {
    const first = comparisons.get(`${others[0]!.title} ${task}`)!;
    return first.measures.flatMap((measure, i) => {
      const name = `${task} ${measure.name}`;
      if (PASSED_OVER.has(name)) return [];
      const cells = others.map(({ title }) => cellOf(comparisons.get(`${title} ${task}`)?.measures[i]));
      return [`| ${name} (${first.items}) | ${measure.a?.toFixed(3) ?? '–'} | ${cells.join(' | ')} |`];
    });
  });
  return [
    `| measure (items of ${scenes} scenes) | float | ${others.map(({ title }) => title).join(' | ')} |`,
    `|---|---|${others.map(() => '---|').join('')}`,
    ...rows,
  ].join('\n');
}

/** `0.981 (+0.002, −0.004 … +0.008)`; bold where the interval is on one side of 0. */
function cellOf(measure: ComparedMeasure | undefined): string {
  if (measure === undefined || measure.b === null || measure.difference === null || measure.interval === null)
    return '';
  const signed = (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;
  const [low, high] = measure.interval;
  const text = `${measure.b.toFixed(3)} (${signed(measure.difference)}; ${signed(low)} … ${signed(high)})`;
  return low > 0 || high < 0 ? `**${text}**` : text;
}

/** @throws SdkError ERR_CONFIG_INVALID for a page without the marks */
async function putInto(page: string, table: string): Promise<void> {
  const text = await readFile(page, 'utf8');
  const [start, end] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
  if (start === -1 || end < start)
    throw new SdkError('ERR_CONFIG_INVALID', `Expected ${MARKS.join(' … ')} in ${page}, between which the table goes.`);
  await writeFile(page, `${text.slice(0, start + MARKS[0].length)}\n${table}\n${text.slice(end)}`);
}

try {
  await main(process.argv);
} catch (error) {
  console.error(isSdkError(error) ? `${error.code}: ${error.message}` : error);
  process.exitCode = 1;
}
