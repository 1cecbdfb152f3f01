/** The data set of `writeDataSet` as one stream, for who has no folder on this machine. */
import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CallOptions } from 'scenebus';
import { type JournalReader, SampleReader } from './export.js';
import type { JournalQuery } from './query.js';
import { tarEnd, tarHeader, tarPadding } from './tar.js';

export interface DataSetArchiveOptions extends CallOptions {
  readonly name: string;
  /** Unix time, milliseconds, for the files. */
  readonly nowMs: number;
}

/**
 * A tar archive with one folder: `images/`, `samples.jsonl`, `README.md`. The lines wait in a file until their number is
 * known, so memory does not grow with it.
 * @throws SdkError ERR_JOURNAL_UNAVAILABLE
 */
export async function* dataSetArchive(
  journal: JournalReader,
  query: Omit<JournalQuery, 'limit' | 'cursor' | 'order' | 'kinds'>,
  { name, nowMs, signal }: DataSetArchiveOptions,
): AsyncGenerator<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'scenebus-data-set-'));
  const mtimeSeconds = nowMs / 1000;
  const place = (path: string) => `data-set/${path}`;
  try {
    const samples = new SampleReader(journal, query, { signal });
    const file = join(folder, 'samples.jsonl');
    let bytes = 0;
    const lines = await open(file, 'w', 0o600);
    try {
      for await (const { line, picture } of samples) {
        bytes += (await lines.write(line)).bytesWritten;
        if (picture === undefined) continue;
        yield tarHeader(place(picture.path), picture.jpeg.length, mtimeSeconds);
        yield picture.jpeg;
        yield tarPadding(picture.jpeg.length);
      }
    } finally {
      await lines.close();
    }
    yield tarHeader(place('samples.jsonl'), bytes, mtimeSeconds);
    yield* createReadStream(file);
    yield tarPadding(bytes);
    const card = Buffer.from(samples.cardFor(name).card);
    yield tarHeader(place('README.md'), card.length, mtimeSeconds);
    yield card;
    yield tarPadding(card.length);
    yield tarEnd();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
