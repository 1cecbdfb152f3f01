/** What leaves the journal for other programs. */
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type CallOptions, SdkError } from 'scenebus';
import type { Journal } from './journal.js';
import type { JournalEvent, JournalQuery } from './query.js';

export type JournalReader = Pick<Journal, 'query' | 'frame'>;

const PAGE = 500;

/** Every event that fits, oldest first, page by page: memory does not grow with their number. */
export async function* allEvents(
  journal: JournalReader,
  query: Omit<JournalQuery, 'limit' | 'cursor' | 'order'>,
  { signal }: CallOptions = {},
): AsyncGenerator<JournalEvent> {
  let cursor: string | undefined;
  do {
    signal?.throwIfAborted();
    const page = await journal.query({ ...query, order: 'oldest-first', limit: PAGE, cursor });
    yield* page.events;
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
}

/** One event a line. */
export function eventLine({ id, kind, atMs, camera, frame, body }: JournalEvent): string {
  const { capturedAtMs, ...picture } = frame ?? { capturedAtMs: 0 };
  const about = frame === null ? null : { ...picture, ts: new Date(capturedAtMs).toISOString() };
  return JSON.stringify({ id, kind, ts: new Date(atMs).toISOString(), camera, frame: about, ...body });
}

export interface DataSetSummary {
  readonly samples: number;
  /** Answers whose picture is not in the journal. */
  readonly withoutPicture: number;
  readonly name: string;
}

/**
 * Questions with their pictures and answers, for calibration and distillation: `samples.jsonl` of
 * `{"image", "prompt", "answer"}`, `images/`, and a card. The folder must be new or empty.
 *
 * The Llama 3.2 Community License asks that a model trained on the output of a Llama model has a name that begins with
 * "Llama", so the card's name does where such a model answered.
 * @throws SdkError ERR_ARGUMENT_INVALID when there is something in the folder
 */
export async function writeDataSet(
  journal: JournalReader,
  query: Omit<JournalQuery, 'limit' | 'cursor' | 'order' | 'kinds'>,
  folder: string,
  { name, signal }: CallOptions & { readonly name: string },
): Promise<DataSetSummary> {
  await mkdir(join(folder, 'images'), { recursive: true });
  const present = (await readdir(folder)).filter((entry) => entry !== 'images');
  if (present.length > 0)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected ${folder} to be a new or empty folder, but it holds ${present[0]}.`,
    );
  const samples = new SampleReader(journal, query, { signal });
  const lines = async function* (): AsyncGenerator<string> {
    for await (const { line, picture } of samples) {
      if (picture !== undefined) await writeFile(join(folder, picture.path), picture.jpeg);
      yield line;
    }
  };
  const file = join(folder, 'samples.jsonl');
  await pipeline(lines, createWriteStream(`${file}.part`));
  await rename(`${file}.part`, file);
  const { cardName, card } = samples.cardFor(name);
  await writeFile(join(folder, 'README.md'), card);
  return { ...samples.counts, name: cardName };
}

/** A line of `samples.jsonl`, with the picture when it is the first about it. */
interface Sample {
  readonly line: string;
  readonly picture: { readonly path: string; readonly jpeg: Uint8Array } | undefined;
}

/** Questions that were answered and whose pictures are still there, oldest first; then the card knows of all. */
export class SampleReader implements AsyncIterable<Sample> {
  readonly #journal: JournalReader;
  readonly #query: Omit<JournalQuery, 'limit' | 'cursor' | 'order' | 'kinds'>;
  readonly #options: CallOptions;
  readonly #models = new Set<string>();
  readonly counts = { samples: 0, withoutPicture: 0 };

  constructor(
    journal: JournalReader,
    query: Omit<JournalQuery, 'limit' | 'cursor' | 'order' | 'kinds'>,
    options: CallOptions = {},
  ) {
    this.#journal = journal;
    this.#query = query;
    this.#options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Sample> {
    const written = new Set<string>();
    for await (const event of allEvents(this.#journal, { ...this.#query, kinds: ['answer'] }, this.#options)) {
      const { question, answer, model } = event.body as {
        readonly question: string | null;
        readonly answer: { readonly text: string } | null;
        readonly model: { readonly id: string } | null;
      };
      if (question === null || answer === null || event.frame === null) continue;
      const picture = await this.#journal.frame(event.frame.id, { run: event.run });
      if (picture === undefined) {
        this.counts.withoutPicture += 1;
        continue;
      }
      // A frame's id is made of a camera's id, which its owner chose: here it becomes a plain file name.
      const path = `images/${`${event.run}-${event.frame.id}`.replace(/[^A-Za-z0-9_-]/g, '_')}.jpg`;
      const isFirst = !written.has(path);
      written.add(path);
      if (model !== null) this.#models.add(model.id);
      this.counts.samples += 1;
      const line = `${JSON.stringify({ image: path, prompt: question, answer: answer.text })}\n`;
      yield { line, picture: isFirst ? { path, jpeg: picture.jpeg } : undefined };
    }
  }

  /** The name begins with "Llama" where a Llama model answered: see `writeDataSet`. */
  cardFor(name: string): { readonly cardName: string; readonly card: string } {
    const isLlama = [...this.#models].some((model) => /^llama/i.test(model));
    const cardName = isLlama && !/^Llama/.test(name) ? `Llama-${name}` : name;
    return { cardName, card: card(cardName, [...this.#models], isLlama, this.counts.samples) };
  }
}

function card(name: string, models: readonly string[], isLlama: boolean, samples: number): string {
  const licence = isLlama
    ? [
        '',
        'Built with Llama. Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. All',
        'Rights Reserved. A model that is trained or improved with these answers has a name that begins with "Llama", and',
        'its users follow the Acceptable Use Policy.',
      ]
    : [];
  return `${[
    `# ${name}`,
    '',
    `${samples} pictures of cameras with a question and the answer of a model each: ${models.join(', ') || 'none'}.`,
    'The answers were written by a model and can be wrong.',
    '',
    '`samples.jsonl` has one sample a line: `image` (a path in this folder), `prompt`, `answer`.',
    ...licence,
  ].join('\n')}\n`;
}
