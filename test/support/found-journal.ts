/** A journal with described frames, as a device would have left it. */
import { DatabaseSync } from '@photostructure/sqlite';
import { JournalStore } from '#device/journal/store.js';

export interface DescribedFrame {
  readonly id: string;
  readonly description: string;
  readonly camera?: string;
  /** undefined: the picture was not kept. */
  readonly jpeg?: Uint8Array | undefined;
  readonly width?: number;
  readonly height?: number;
}

/** Numbers its frames from 1: each a second after the one before. */
export function writeDescribedFrames(file: string, frames: readonly DescribedFrame[]): JournalStore {
  const store = new JournalStore({ file });
  const described = frames.map((frame, i) => ({
    camera: 'cam',
    width: 384,
    height: 384,
    ...frame,
    atMs: (i + 1) * 1000,
  }));
  store.write({
    records: described.map(({ id, camera, description, width, height, atMs }, i) => ({
      id: `run-${String(i + 1).padStart(9, '0')}`,
      ...{ kind: 'scene', atMs, camera, text: description, frame: { id, capturedAtMs: atMs, width, height } },
      body: JSON.stringify({ answer: { text: description } }),
    })),
    frames: described.flatMap(({ id, camera, jpeg, width, height, atMs }) =>
      jpeg === undefined ? [] : [{ run: 'run', id, camera, atMs, width, height, jpeg }],
    ),
    cursors: [],
  });
  return store;
}

/** Moves what is in the write-ahead log into the file, so that cutting the file cuts the journal. */
export function checkpoint(file: string): void {
  const database = new DatabaseSync(file);
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}
