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
  const models = new Set<string>();
  const written = new Set<string>();
  const counts = { samples: 0, withoutPicture: 0 };
  const lines = async function* (): AsyncGenerator<string> {
    for await (const event of allEvents(journal, { ...query, kinds: ['answer'] }, { signal })) {
      const { question, answer, model } = event.body as {
        readonly question: string | null;
        readonly answer: { readonly text: string } | null;
        readonly model: { readonly id: string } | null;
      };
      if (question === null || answer === null || event.frame === null) continue;
      const picture = await journal.frame(event.frame.id, { run: event.run });
      if (picture === undefined) {
        counts.withoutPicture += 1;
        continue;
      }
      // A frame's id is made of a camera's id, which its owner chose: here it becomes a plain file name.
      const image = `images/${`${event.run}-${event.frame.id}`.replace(/[^A-Za-z0-9_-]/g, '_')}.jpg`;
      if (!written.has(image)) await writeFile(join(folder, image), picture.jpeg);
      written.add(image);
      if (model !== null) models.add(model.id);
      counts.samples += 1;
      yield `${JSON.stringify({ image, prompt: question, answer: answer.text })}\n`;
    }
  };
  const file = join(folder, 'samples.jsonl');
  await pipeline(lines, createWriteStream(`${file}.part`));
  await rename(`${file}.part`, file);
  const isLlama = [...models].some((model) => /^llama/i.test(model));
  const cardName = isLlama && !/^Llama/.test(name) ? `Llama-${name}` : name;
  await writeFile(join(folder, 'README.md'), card(cardName, [...models], isLlama, counts.samples));
  return { ...counts, name: cardName };
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
