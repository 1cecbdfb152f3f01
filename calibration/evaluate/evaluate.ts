/** A model's answers to a public data set, and their scores. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SdkError, toSdkError } from '#sdk/core/errors.js';
import { linkedAbort } from '#sdk/core/linked-abort.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { decodeImage } from '#sdk/image/index.js';
import type { VisionLanguageModel } from '#sdk/model/types.js';
import { AnswersFile, type AnswersKey, type ItemAnswer } from './answers-file.js';
import { type DataItem, type DataSource, type PlacedItem, placeItems, requireItems } from './data/items.js';
import { type Measure, measureOver } from './measures.js';
import type { TaskName } from './task-names.js';
import { type AnyTask, TASKS } from './tasks.js';

export interface EvaluateOptions extends CallOptions {
  readonly task: TaskName;
  readonly data: DataSource;
  /** In place of the task's: `{question}`, `{options}` and `{label}` stand for the item's. */
  readonly prompt?: string | undefined;
  /** At most so many items, the first. Default: all. */
  readonly limit?: number | undefined;
  /** Questions under way at once. 1–16, default 4. */
  readonly batch?: number | undefined;
  /** What was chosen of the model besides its folder and changes its answers. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** File of the answers, which a stopped run goes on with. Default: a name of all that they depend on, in `scenebus-results`. */
  readonly results?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface Evaluation {
  readonly task: TaskName;
  readonly key: AnswersKey;
  /** The file of the answers. */
  readonly results: string;
  readonly items: number;
  /** Of them from an earlier run. */
  readonly resumed: number;
  /** Of the data set, and why. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** The first is the one that the task is known by; null: nothing to measure it on. */
  readonly scores: Readonly<Record<string, number | null>>;
  readonly promptTokens: number;
  readonly generatedTokens: number;
  /** Of answering, earlier runs included. */
  readonly seconds: number;
}

export const MOST_AT_ONCE = 16;

/**
 * Asks a model everything of a data set, several questions at once, and scores what it says. Greedy.
 * @throws SdkError ERR_CONFIG_INVALID, ERR_LIMIT_EXCEEDED for data that are not as their layout says, ERR_REQUEST_UNSUPPORTED
 * for a model that gives no boxes where the task needs them; as `ask`, naming the item. What was answered until then is kept.
 */
export async function evaluate(model: VisionLanguageModel, options: EvaluateOptions): Promise<Evaluation> {
  const { data, limit, signal } = options;
  const { batch = Math.min(4, MOST_AT_ONCE) } = options;
  if (!Number.isInteger(batch) || batch < 1 || batch > MOST_AT_ONCE)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected 1 to ${MOST_AT_ONCE} questions at once but received ${batch}.`,
    );
  const task = TASKS[options.task];
  if (task.needsBoxes && !model.info.locates) throw noBoxes(options.task, model);
  const { items: all, leftOut } = await readItems(task, { ...data, signal });
  const items = await placeItems(data.file, all.slice(0, limit), data.images ?? dirname(data.file), { signal });
  const key = await keyOf(model, task, options);
  const path =
    options.results ?? join('scenebus-results', `${options.task}-${hashOf(JSON.stringify(key)).slice(0, 12)}.jsonl`);
  await using file = await AnswersFile.open(path, key);
  const known = items.filter(({ id }) => file.byId.has(id)).length;
  await askAll(model, task, items, file, { ...options, batch, prompt: key.prompt });
  const answers = items.map(({ id }) => file.byId.get(id)!);
  return {
    ...{ task: options.task, key, results: path, items: items.length, resumed: known, leftOut },
    scores: scoresOf(measuresOf(task, items, answers)),
    ...costOf(answers),
  };
}

/** @throws SdkError ERR_CONFIG_INVALID for data that are not as their layout says */
export async function readItems(task: AnyTask, source: DataSource) {
  const set = await task.read(source);
  requireItems(source.file, set);
  return set;
}

export function measuresOf(
  task: AnyTask,
  items: readonly DataItem<unknown>[],
  answers: readonly ItemAnswer[],
): Measure[] {
  return task.measures(
    items,
    answers.map(({ said }) => said),
  );
}

/** NaN is null, for JSON has none. */
export function scoresOf(measures: readonly Measure[]): Record<string, number | null> {
  const values = measures.map((measure) => [measure.name, measureOver(measure)] as const);
  return Object.fromEntries(values.map(([name, value]) => [name, Number.isFinite(value) ? value : null]));
}

export function costOf(answers: readonly ItemAnswer[]) {
  const total = (value: (answer: ItemAnswer) => number) => answers.reduce((sum, answer) => sum + value(answer), 0);
  return {
    promptTokens: total((answer) => answer.promptTokens),
    generatedTokens: total((answer) => answer.generatedTokens),
    seconds: total((answer) => answer.wallMs) / 1000,
  };
}

async function askAll(
  model: VisionLanguageModel,
  task: AnyTask,
  items: readonly PlacedItem<unknown>[],
  file: AnswersFile,
  options: EvaluateOptions & { readonly batch: number; readonly prompt: string },
): Promise<void> {
  const open = items.filter(({ id }) => !file.byId.has(id));
  let done = items.length - open.length;
  const progress = () => options.onProgress?.({ phase: options.task, done, total: items.length, unit: 'steps' });
  let lastMs = performance.now();
  const queue = open.values();
  using abort = linkedAbort([options.signal]);
  const worker = async (caller: string) => {
    for (const item of queue) {
      abort.signal.throwIfAborted();
      const { said, usage } = await askOne(model, task, item, options.prompt, caller, abort.signal);
      const nowMs = performance.now();
      const wallMs = Math.round((nowMs - lastMs) * 1000) / 1000;
      lastMs = nowMs;
      const { id, question } = item;
      const scores = Object.fromEntries(task.measures([item], [said]).map((each) => [each.name, each.ofItem(0)]));
      const { promptTokens, generatedTokens } = usage;
      await file.add({
        id,
        question,
        image: basename(item.imagePath),
        said,
        scores,
        promptTokens,
        generatedTokens,
        wallMs,
      });
      done++;
      progress();
    }
  };
  progress();
  const workers = Array.from({ length: options.batch }, (_, i) =>
    worker(`evaluate-${i}`).catch((error: unknown) => {
      abort.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(workers);
  await Promise.all(workers);
}

async function askOne(
  model: VisionLanguageModel,
  task: AnyTask,
  item: PlacedItem<unknown>,
  template: string,
  caller: string,
  signal: AbortSignal,
) {
  try {
    const image = await decodeImage(item.imagePath, { signal });
    const { maxNewTokens } = task;
    return await task.ask(model, image, task.write(template, item), item, { caller, maxNewTokens, signal });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const { code, message, details } = toSdkError(error);
    throw new SdkError(code, `Item ${item.id} (${item.imagePath}): ${message}`, {
      cause: error,
      details: { ...details, item: item.id },
    });
  }
}

async function keyOf(model: VisionLanguageModel, task: AnyTask, options: EvaluateOptions): Promise<AnswersKey> {
  const { name, contentHash, engine } = model.info;
  const prompt = options.prompt ?? task.prompt ?? task.ownPrompt(model.info);
  if (prompt.trim() === '') throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected a prompt but received an empty one.');
  const { backend, weights, numerics } = engine;
  return {
    ...{ schema: 'scenebus/evaluation/1', task: options.task, data: await hashOfData(options.data), prompt },
    ...{ model: { name, contentHash }, engine: { backend, weights, numerics: String(numerics) } },
    settings: { ...options.settings },
  };
}

/** What a set of answers belongs to: the annotation files and the part of them. */
export async function hashOfData({ file, annotations, split, signal }: DataSource): Promise<string> {
  const hash = createHash('sha256');
  for (const path of [file, ...(annotations === undefined ? [] : [annotations])])
    for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Uint8Array);
  return hash.update(`\n${split ?? ''}`).digest('hex');
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function noBoxes(task: TaskName, { info }: VisionLanguageModel): SdkError {
  return new SdkError(
    'ERR_REQUEST_UNSUPPORTED',
    `Expected a model that gives boxes for ${task}, but ${info.name} writes none and no heads of it that localise are known. Find them once with scenebus calibrate-grounding, or give a detector.`,
  );
}
