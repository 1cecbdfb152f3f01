/** Pictures whose objects are known, and records of what was said about them. */
import { createReadStream } from 'node:fs';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { SdkError } from '#sdk/core/errors.js';
import { type KnownScene, type SearchRecord, searchSchema } from './collect.js';

const unit = z.number().min(0).max(1);
/** Other fields belong to whoever wrote them. */
const sceneSchema = z.object({
  image: z.string().regex(/^[\w.-]+$/, 'Expected the name of a file beside scenes.jsonl'),
  objects: z.array(
    z.object({
      label: z.string().min(1).max(200),
      box: z.tuple([unit, unit, unit, unit]),
    }),
  ),
});

const MOST_SCENES = 100_000;

/**
 * `scenes.jsonl` of a folder: a line `{"image": file, "objects": [{"label", "box": [x1, y1, x2, y2]}]}` for each picture,
 * boxes as fractions of width and height.
 * @throws SdkError ERR_CONFIG_INVALID naming the line
 */
export async function readKnownScenes(folder: string): Promise<KnownScene[]> {
  const path = join(folder, 'scenes.jsonl');
  const scenes: KnownScene[] = [];
  try {
    let line = 0;
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      if (text.trim() === '') continue;
      if (scenes.length >= MOST_SCENES) throw invalid(path, line, `expected at most ${MOST_SCENES} scenes`);
      scenes.push(parsed(path, line, text, sceneSchema));
    }
  } catch (cause) {
    if (cause instanceof SdkError) throw cause;
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected ${path} with pictures and what is in them, but it cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
  if (scenes.length === 0) throw new SdkError('ERR_CONFIG_INVALID', `Expected scenes in ${path}, but there are none.`);
  return scenes;
}

const recordSchema = z.strictObject({ key: z.string(), image: z.string(), searches: z.array(searchSchema) });

/** What was found out so far, a line for each picture, so that a run that was stopped goes on. */
export class RecordFile {
  readonly #path: string | undefined;
  readonly #key: string;
  readonly #known = new Map<string, readonly SearchRecord[]>();

  private constructor(path: string | undefined, key: string) {
    this.#path = path;
    this.#key = key;
  }

  /**
   * @param key what the records depend on besides the picture: those of another model are refused
   * @throws SdkError ERR_CONFIG_INVALID
   */
  static async open(path: string | undefined, key: string): Promise<RecordFile> {
    const file = new RecordFile(path, key);
    const text = path === undefined ? '' : await readFile(path, 'utf8').catch(() => '');
    for (const [i, line] of text.split('\n').entries()) {
      if (line === '') continue;
      const record = parsed(path!, i + 1, line, recordSchema);
      if (record.key !== key) throw invalid(path!, i + 1, 'it is of another model or grounder; name another file');
      file.#known.set(record.image, record.searches);
    }
    return file;
  }

  of(image: string): readonly SearchRecord[] | undefined {
    return this.#known.get(image);
  }

  async add(image: string, searches: readonly SearchRecord[]): Promise<void> {
    this.#known.set(image, searches);
    if (this.#path !== undefined)
      await appendFile(this.#path, `${JSON.stringify({ key: this.#key, image, searches })}\n`);
  }
}

function parsed<S extends z.ZodType>(path: string, line: number, text: string, schema: S): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(path, line, (cause as Error).message);
  }
  const result = schema.safeParse(value);
  if (!result.success) throw invalid(path, line, z.prettifyError(result.error));
  return result.data;
}

function invalid(path: string, line: number, problem: string): SdkError {
  return new SdkError('ERR_CONFIG_INVALID', `Line ${line} of ${path} is not as expected: ${problem}`, {
    details: { path, line },
  });
}
