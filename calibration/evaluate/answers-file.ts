/** What a model answered, a line for each item, kept as it comes: a run that was stopped goes on, and two are compared. */
import { mkdir, open, readFile, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SdkError } from '#sdk/core/errors.js';
import { TASK_NAMES } from './task-names.js';
import { saidSchema } from './tasks.js';

/** What all answers of a file depend on. */
export const answersKeySchema = z.strictObject({
  schema: z.literal('scenebus/evaluation/1'),
  task: z.enum(TASK_NAMES),
  /** SHA-256 of the annotation files. */
  data: z.string(),
  prompt: z.string(),
  model: z.strictObject({ name: z.string(), contentHash: z.string() }),
  engine: z.strictObject({ backend: z.string(), weights: z.string(), numerics: z.string() }),
  /** Settings that change answers, in words: grounder, vision, numbers of the cache. */
  settings: z.record(z.string(), z.string()),
});
export type AnswersKey = z.output<typeof answersKeySchema>;

const answerSchema = z.strictObject({
  id: z.string(),
  question: z.string(),
  image: z.string(),
  said: saidSchema,
  /** Of this item alone; what depends on the set (CIDEr-D, precision) is not among them. */
  scores: z.record(z.string(), z.number().nullable()),
  promptTokens: z.int(),
  generatedTokens: z.int(),
  /** Since the answer before it, so that the sum is the time of the whole. */
  wallMs: z.number(),
});
export type ItemAnswer = z.output<typeof answerSchema>;

export interface Answers {
  readonly key: AnswersKey;
  readonly byId: ReadonlyMap<string, ItemAnswer>;
}

/** @throws SdkError ERR_CONFIG_INVALID for a file that is none, naming the line */
export async function readAnswers(path: string): Promise<Answers> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SdkError('ERR_CONFIG_INVALID', `Expected answers that scenebus evaluate wrote but cannot read ${path}.`, {
      cause,
    });
  });
  const { key, byId } = parseAnswers(path, text);
  if (key === undefined)
    throw new SdkError('ERR_CONFIG_INVALID', `Expected answers of an evaluation in ${path} but it is empty.`);
  return { key, byId };
}

/** A last line that has no end was being written when the run was stopped: it does not count. */
function parseAnswers(path: string, text: string) {
  const end = text.lastIndexOf('\n') + 1;
  const byId = new Map<string, ItemAnswer>();
  let key: AnswersKey | undefined;
  for (const [i, line] of text.slice(0, end).split('\n').entries()) {
    if (line === '') continue;
    if (key === undefined) key = parsed(path, i + 1, line, answersKeySchema);
    else {
      const answer = parsed(path, i + 1, line, answerSchema);
      byId.set(answer.id, answer);
    }
  }
  return { key, byId, end: Buffer.byteLength(text.slice(0, end)) };
}

function parsed<S extends z.ZodType>(path: string, line: number, text: string, schema: S): z.output<S> {
  let problem: string;
  try {
    const result = schema.safeParse(JSON.parse(text));
    if (result.success) return result.data;
    problem = z.prettifyError(result.error);
  } catch (cause) {
    problem = (cause as Error).message;
  }
  throw new SdkError('ERR_CONFIG_INVALID', `Line ${line} of ${path} is none of an evaluation: ${problem}`, {
    details: { path, line },
  });
}

/** Answers that are added to. */
export class AnswersFile implements AsyncDisposable {
  readonly path: string;
  readonly #handle: Awaited<ReturnType<typeof open>>;
  readonly #byId: Map<string, ItemAnswer>;
  #written: Promise<void> = Promise.resolve();

  private constructor(path: string, handle: Awaited<ReturnType<typeof open>>, byId: Map<string, ItemAnswer>) {
    this.path = path;
    this.#handle = handle;
    this.#byId = byId;
  }

  /** @throws SdkError ERR_CONFIG_INVALID for answers of another model, data set, prompt or setting */
  static async open(path: string, key: AnswersKey): Promise<AnswersFile> {
    await mkdir(dirname(path), { recursive: true });
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw new SdkError('ERR_CONFIG_INVALID', `Cannot read ${path}: ${error.message}`, { cause: error });
    });
    const before = parseAnswers(path, text);
    if (before.key !== undefined) refuseOther(path, before.key, key);
    if (before.end < Buffer.byteLength(text)) await truncate(path, before.end);
    const handle = await open(path, 'a');
    const file = new AnswersFile(path, handle, before.byId);
    if (before.key === undefined) await file.#append(key);
    return file;
  }

  get byId(): ReadonlyMap<string, ItemAnswer> {
    return this.#byId;
  }

  async add(answer: ItemAnswer): Promise<void> {
    this.#byId.set(answer.id, answer);
    this.#written = this.#written.then(() => this.#append(answer));
    await this.#written;
  }

  async #append(value: object): Promise<void> {
    await this.#handle.appendFile(`${JSON.stringify(value)}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#written.catch(() => undefined);
    await this.#handle.close();
  }
}

function refuseOther(path: string, found: AnswersKey, expected: AnswersKey): void {
  const names = Object.keys(expected) as (keyof AnswersKey)[];
  const different = names.filter((name) => JSON.stringify(found[name]) !== JSON.stringify(expected[name]));
  if (different.length === 0) return;
  const message = `Expected answers to the same questions by the same model in ${path}, to go on with, but its ${different.join(', ')} differ${different.length === 1 ? 's' : ''}. Name another file or delete it.`;
  throw new SdkError('ERR_CONFIG_INVALID', message, { details: { path, different } });
}
