/** The thread that owns the journal's file: nothing else of the service waits for the disk. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { lockJournal } from './file-lock.js';
import { isDamage, JournalStore, MEMORY, setAside } from './store.js';
import { StoreError } from './store-error.js';
import type { CallMessage, JournalCalls, ReplyMessage } from './thread.js';

let store: JournalStore | undefined;

function opened(): JournalStore {
  if (store === undefined) throw new Error('The journal is not open.');
  return store;
}

const calls: JournalCalls = {
  open(file, setAsideAtMs) {
    if (file !== MEMORY) {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      lockJournal(file);
    }
    // This thread has not opened the file yet: nothing of it is held that could reach into the new one.
    const aside = setAsideAtMs === undefined ? undefined : setAside(file, setAsideAtMs);
    store = new JournalStore({ file });
    // The first page can be fine and the next one not.
    store.lastSeq;
    return { setAside: aside };
  },
  write(write) {
    return opened().write(write);
  },
  cursor: (sink) => opened().cursor(sink),
  forget: (sink) => opened().forget(sink),
  after: (seq, kinds, limit) => opened().after(seq, kinds, limit),
  query: (query) => opened().query(query),
  findScenes: (search) => opened().findScenes(search),
  healthSeries: (query) => opened().healthSeries(query),
  frame: (id, run) => opened().frame(id, run),
  pictures: (query) => opened().pictures(query),
  retain: (limits, nowMs) => opened().retain(limits, nowMs),
  size: () => opened().size,
  openReadOnly(file) {
    store = new JournalStore({ file, isReadOnly: true });
    store.lastSeq;
  },
};

parentPort?.on('message', ({ number, name, args }: CallMessage) => {
  try {
    const value = (calls[name] as (...values: readonly unknown[]) => unknown)(...args);
    parentPort?.postMessage({ number, value } satisfies ReplyMessage);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof StoreError ? error.code : undefined;
    const failure = { message, code, isDamage: isDamage(error) };
    parentPort?.postMessage({ number, failure } satisfies ReplyMessage);
  }
});
