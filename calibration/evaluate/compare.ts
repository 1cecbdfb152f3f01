/** Two sets of answers to the same questions: by how much they differ, and whether chance explains it. */
import { SdkError } from '#sdk/core/errors.js';
import { createRandom } from '#sdk/core/random.js';
import { type Answers, type AnswersKey, type ItemAnswer, readAnswers } from './answers-file.js';
import type { DataItem, DataSource } from './data/items.js';
import { costOf, hashOfData, measuresOf, readItems } from './evaluate.js';
import { type Measure, measureOver } from './measures.js';
import { TASKS } from './tasks.js';

/** B against A on one measure. */
export interface ComparedMeasure {
  readonly name: string;
  readonly a: number | null;
  readonly b: number | null;
  readonly difference: number | null;
  /** Of the difference, 95 %, by resampling pictures with all that was asked about them. */
  readonly interval: readonly [number, number] | null;
  /** Only of shares of right answers: McNemar's exact test, two-sided. */
  readonly mcNemar?: { readonly onlyA: number; readonly onlyB: number; readonly p: number } | undefined;
}

/** What a side took. */
export interface ComparedCost {
  readonly promptTokens: number;
  readonly generatedTokens: number;
  readonly seconds: number;
}

export interface Comparison {
  readonly task: AnswersKey['task'];
  readonly items: number;
  readonly pictures: number;
  readonly a: AnswersKey;
  readonly b: AnswersKey;
  readonly measures: readonly ComparedMeasure[];
  readonly cost: { readonly a: ComparedCost; readonly b: ComparedCost };
}

export interface CompareOptions {
  readonly data: DataSource;
  /** At most so many items. Default: all that both have answered. */
  readonly limit?: number | undefined;
  /** Resamples for the intervals. Default 2000. */
  readonly resamples?: number | undefined;
}

/**
 * @param a, b files that `evaluate` wrote
 * @throws SdkError ERR_CONFIG_INVALID when they are of different tasks, of other data, or have no item in common
 */
export async function compareAnswers(a: string, b: string, options: CompareOptions): Promise<Comparison> {
  const [left, right] = [await readAnswers(a), await readAnswers(b)];
  if (left.key.task !== right.key.task)
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected two runs of one task but ${a} is of ${left.key.task} and ${b} of ${right.key.task}.`,
    );
  const data = await hashOfData(options.data);
  for (const [path, { key }] of [
    [a, left],
    [b, right],
  ] as const)
    if (key.data !== data)
      throw new SdkError(
        'ERR_CONFIG_INVALID',
        `Expected answers to ${options.data.file} in ${path}, but they are of other data.`,
      );
  const task = TASKS[left.key.task];
  const { items: all } = await readItems(task, options.data);
  const items = all.filter(({ id }) => left.byId.has(id) && right.byId.has(id)).slice(0, options.limit);
  if (items.length === 0)
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected items that both have answered, but ${a} and ${b} have none in common.`,
    );
  return compareItems(items, left, right, options.resamples);
}

function compareItems(
  items: readonly DataItem<unknown>[],
  left: Answers,
  right: Answers,
  resamples = 2000,
): Comparison {
  const task = TASKS[left.key.task];
  const of = ({ byId }: Answers): ItemAnswer[] => items.map(({ id }) => byId.get(id)!);
  const [answersA, answersB] = [of(left), of(right)];
  const measuresB = measuresOf(task, items, answersB);
  const pictures = groupsOf(answersA.map(({ image }) => image));
  const measures = measuresOf(task, items, answersA).map((a, i) =>
    compareMeasure(a, measuresB[i]!, pictures, resamples),
  );
  return {
    ...{ task: left.key.task, items: items.length, pictures: pictures.length, a: left.key, b: right.key, measures },
    cost: { a: costOf(answersA), b: costOf(answersB) },
  };
}

function compareMeasure(
  a: Measure,
  b: Measure,
  pictures: readonly (readonly number[])[],
  resamples: number,
): ComparedMeasure {
  const [valueA, valueB] = [measureOver(a), measureOver(b)];
  const difference = valueB - valueA;
  return {
    ...{ name: a.name, a: orNull(valueA), b: orNull(valueB), difference: orNull(difference) },
    interval: Number.isFinite(difference) ? intervalOf(a, b, pictures, resamples) : null,
    ...(a.isAccuracy ? { mcNemar: mcNemar(a, b) } : {}),
  };
}

/** Percentiles of the difference over resampled pictures: what is asked about one picture goes together. */
function intervalOf(
  a: Measure,
  b: Measure,
  pictures: readonly (readonly number[])[],
  resamples: number,
): [number, number] {
  const random = createRandom(1);
  const differences: number[] = [];
  for (let n = 0; n < resamples; n++) {
    const drawn = pictures.flatMap(() => pictures[Math.floor(random() * pictures.length)]!);
    const difference = measureOver(b, drawn) - measureOver(a, drawn);
    if (Number.isFinite(difference)) differences.push(difference);
  }
  differences.sort((x, y) => x - y);
  const at = (share: number) => differences[Math.min(differences.length - 1, Math.floor(share * differences.length))]!;
  return [at(0.025), at(0.975)];
}

/** McNemar's test in its exact form: of the items that only one has right, as many would be A's as B's by chance. */
export function mcNemar(a: Measure, b: Measure): NonNullable<ComparedMeasure['mcNemar']> {
  let [onlyA, onlyB] = [0, 0];
  for (const [i, row] of a.rows.entries()) {
    if (row === null) continue;
    const [x, y] = [row[0]!, b.rows[i]![0]!];
    if (x > y) onlyA++;
    else if (y > x) onlyB++;
  }
  return { onlyA, onlyB, p: binomialTwoSided(Math.min(onlyA, onlyB), onlyA + onlyB) };
}

/** How probable it is that so few or fewer, on either side, of n fair coins show heads. */
function binomialTwoSided(few: number, n: number): number {
  if (n === 0) return 1;
  let logChance = -n * Math.LN2;
  let below = 0;
  for (let k = 0; k <= few; k++) {
    below += Math.exp(logChance);
    logChance += Math.log(n - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * below);
}

function groupsOf(names: readonly string[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const [i, name] of names.entries()) {
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [i]);
    else group.push(i);
  }
  return [...groups.values()];
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** @param names how the columns are called */
export function comparisonMarkdown(
  { task, items, pictures, measures, cost }: Comparison,
  names: readonly [string, string],
): string {
  const score = (value: number | null) => (value === null ? '–' : value.toFixed(4));
  const signed = (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(4)}`;
  const rows = measures.map(({ name, a, b, difference, interval, mcNemar: test }) => {
    const change = difference === null ? '–' : signed(difference);
    const range = interval === null ? '–' : `${signed(interval[0])} … ${signed(interval[1])}`;
    const chance = test === undefined ? '' : `${test.onlyA} / ${test.onlyB}, p = ${test.p.toPrecision(2)}`;
    return [`${task} ${name}`, score(a), score(b), change, range, chance];
  });
  const tokens = ({ promptTokens, generatedTokens }: ComparedCost) => `${promptTokens} + ${generatedTokens}`;
  return [
    `| ${items} items, ${pictures} pictures | ${names[0]} | ${names[1]} | difference | 95 % | right only by one, McNemar |`,
    '|---|---|---|---|---|---|',
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
    `| tokens read + written | ${tokens(cost.a)} | ${tokens(cost.b)} | | | |`,
    `| seconds | ${cost.a.seconds.toFixed(1)} | ${cost.b.seconds.toFixed(1)} | | | |`,
  ].join('\n');
}
