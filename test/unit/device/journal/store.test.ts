import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { describe, expect, test } from 'vitest';
import { matchExpression } from '#device/journal/query.js';
import type { EventRecord } from '#device/journal/record.js';
import { isDamage, JournalStore, setAside } from '#device/journal/store.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

function record(number: number, more: Partial<EventRecord> = {}): EventRecord {
  return {
    id: `run-${String(number).padStart(9, '0')}`,
    kind: 'answer',
    atMs: number * 1_000,
    camera: 'cam',
    frame: { id: `cam-${number}`, capturedAtMs: number * 1_000 - 0.5, width: 64, height: 48 },
    text: null,
    body: JSON.stringify({ number }),
    ...more,
  };
}
const numbers = (page: { readonly events: readonly { readonly body: unknown }[] }) =>
  page.events.map(({ body }) => (body as { number: number }).number);
const newFile = async () => join(await makeTemporaryFolder('scenebus-journal-'), 'sub', 'journal.db');
const write = (store: JournalStore, ...records: EventRecord[]) => store.write({ records, frames: [], cursors: [] });
const picture = (number: number, bytes: number) => ({
  id: `cam-${number}`,
  run: 'run',
  camera: 'cam',
  atMs: number,
  width: 64,
  height: 48,
  jpeg: new Uint8Array(randomBytes(bytes)),
});

describe('the journal’s file', () => {
  test('keeps events with their frames in order, over a restart', async () => {
    const file = await newFile();
    {
      using store = new JournalStore({ file });
      expect(write(store, record(1), record(2))).toEqual([1, 2]);
      const [again, next] = write(store, record(2), record(3)); // the second once more: no second row
      expect(again).toBe(2);
      expect(next).toBeGreaterThan(2);
    }
    using store = new JournalStore({ file });
    const page = store.query({ order: 'oldest-first' });
    expect(numbers(page)).toEqual([1, 2, 3]);
    expect(page.events[0]).toEqual({
      id: 'run-000000001',
      run: 'run',
      kind: 'answer',
      atMs: 1_000,
      camera: 'cam',
      frame: { id: 'cam-1', capturedAtMs: 999.5, width: 64, height: 48 },
      body: { number: 1 },
    });
  });

  test('is written through before a transaction returns: WAL, synchronous FULL, readable by its owner only', async () => {
    const file = await newFile();
    using store = new JournalStore({ file });
    write(store, record(1));
    expect(existsSync(`${file}-wal`)).toBe(true);
    expect(statSync(dirname(file)).mode & 0o077).toBe(0);
    const database = (store as unknown as { database?: unknown }).database;
    expect(database).toBeUndefined(); // nobody changes its settings from outside
    expect(readFileSync('dist/device/journal/store.js', 'utf8')).toMatch(/synchronous = FULL/);
  });

  test('takes all of a transaction or nothing', async () => {
    using store = new JournalStore({ file: await newFile() });
    const broken = record(2, { body: null as unknown as string });
    expect(() => write(store, record(1), broken)).toThrow(/NOT NULL/);
    expect(store.query({}).events).toEqual([]);
    expect(write(store, record(1))).toEqual([1]);
  });

  test('finds by kind, camera, time, frame and words, page by page', async () => {
    using store = new JournalStore({ file: await newFile() });
    write(
      store,
      record(1, { kind: 'scene', text: 'A red cup beside a blue book' }),
      record(2, { camera: 'door', text: 'Where is the cup?\nOn the left.' }),
      record(3, { text: 'A dog' }),
      record(4, { kind: 'scene', text: 'Zwei Bücher' }),
    );
    const found = (query: Parameters<JournalStore['query']>[0]) => numbers(store.query(query));
    expect(found({})).toEqual([4, 3, 2, 1]);
    expect(found({ kinds: ['scene'] })).toEqual([4, 1]);
    expect(found({ camera: 'door' })).toEqual([2]);
    expect(found({ from: 2_000, to: 4_000 })).toEqual([3, 2]);
    expect(found({ frameId: 'cam-3' })).toEqual([3]);
    expect(found({ text: 'CUP' })).toEqual([2, 1]);
    expect(found({ text: 'cup red' })).toEqual([1]);
    expect(found({ text: '"red cup"' })).toEqual([1]);
    expect(found({ text: '"cup red"' })).toEqual([]);
    expect(found({ text: 'bucher' })).toEqual([4]);
    expect(found({ text: 'boo*' })).toEqual([1]);
    expect(found({ text: '…' })).toEqual([]);
    const first = store.query({ limit: 3, order: 'oldest-first' });
    expect(numbers(first)).toEqual([1, 2, 3]);
    const second = store.query({ limit: 3, order: 'oldest-first', cursor: first.cursor! });
    expect(numbers(second)).toEqual([4]);
    expect(second.cursor).toBeNull();
    const newest = store.query({ limit: 2 });
    expect(numbers(store.query({ limit: 2, cursor: newest.cursor! }))).toEqual([2, 1]);
  });

  test('takes any text for words, and refuses limits and cursors that are none', async () => {
    using store = new JournalStore({ file: await newFile() });
    write(store, record(1, { text: `it's "quoted" AND NEAR(x) text:col -minus` }));
    for (const text of ['AND', 'NEAR(x', 'text:col', '"', `'; DROP TABLE event; --`, '^ * : ( )', '-minus', 'a"b'])
      expect(() => store.query({ text })).not.toThrow();
    expect(numbers(store.query({ text: 'NEAR(x) AND' }))).toEqual([1]);
    for (const limit of [0, 1.5, 1_001, Number.NaN]) expect(() => store.query({ limit })).toThrow(/limit from 1 to/);
    for (const cursor of ['', '1; DROP', '-1'])
      expect(() => store.query({ cursor })).toThrow(/cursor of an earlier page/);
    expect(matchExpression('a "b c" d* "e')).toBe('"a" "b c" "d"* "e"');
  });

  test('gives the picture of a frame, of several runs the newest unless one is named', async () => {
    using store = new JournalStore({ file: await newFile() });
    const [first, second] = [picture(1, 100), { ...picture(1, 100), run: 'later' }];
    store.write({ records: [], frames: [first, second], cursors: [] });
    expect(store.frame('cam-1')).toEqual(second);
    expect(store.frame('cam-1', 'run')).toEqual(first);
    expect(store.frame('cam-1', 'never')).toBeUndefined();
    expect(store.frame('cam-2')).toBeUndefined();
  });

  test('knows what each sink is done with; a new one begins with what comes, and none goes back', async () => {
    const file = await newFile();
    {
      using store = new JournalStore({ file });
      write(store, record(1), record(2));
      expect(store.cursor('mqtt')).toBe(2);
      write(store, record(3), record(4, { kind: 'status' }), record(5));
      expect(store.after(2, ['answer'], 10).map(({ seq }) => seq)).toEqual([3, 5]);
      store.write({ records: [], frames: [], cursors: [['mqtt', 3]] });
      store.write({ records: [], frames: [], cursors: [['mqtt', 2]] });
    }
    using store = new JournalStore({ file });
    expect(store.cursor('mqtt')).toBe(3);
    expect(store.cursor('other')).toBe(5);
  });

  test('lets old events go, but none that a sink still waits for', async () => {
    using store = new JournalStore({ file: await newFile() });
    write(store, record(1, { text: 'old' }), record(2), record(3), record(4));
    store.write({ records: [], frames: [picture(1_000, 10), picture(4_000, 10)], cursors: [['mqtt', 2]] });
    expect(store.retain({ maxAgeMs: 500, maxBytes: 1e9 }, 4_000)).toEqual({ events: 2, frames: 1 });
    expect(numbers(store.query({ order: 'oldest-first' }))).toEqual([3, 4]);
    expect(store.query({ text: 'old' }).events).toEqual([]);
    // Numbers are not used again: a cursor keeps its meaning.
    expect(write(store, record(5))).toEqual([5]);
  });

  test('stays below its size: pictures go first, then events, and the file shrinks', async () => {
    const file = await newFile();
    using store = new JournalStore({ file });
    write(
      store,
      ...Array.from({ length: 1_000 }, (_, n) =>
        record(n + 1, { body: JSON.stringify({ number: n + 1, pad: 'x'.repeat(500) }) }),
      ),
    );
    for (let n = 0; n < 100; n++) store.write({ records: [], frames: [picture(n, 20_000)], cursors: [] });
    const maxBytes = 1_200_000;
    const removed = store.retain({ maxAgeMs: 1e12, maxBytes }, 0);
    expect(removed.events).toBe(0);
    expect(removed.frames).toBeGreaterThan(30);
    expect(store.frame('cam-99')).toBeDefined();
    expect(store.size.bytes).toBeLessThanOrEqual(maxBytes);
    expect(store.retain({ maxAgeMs: 1e12, maxBytes: 400_000 }, 0)).toMatchObject({ frames: 100 - removed.frames });
    expect(store.size.bytes).toBeLessThanOrEqual(400_000);
    expect(store.size.events).toBeGreaterThan(0);
    expect(numbers(store.query({ limit: 1 }))).toEqual([1_000]);
  });

  test('can be read while another process writes, and not written', async () => {
    const file = await newFile();
    using writer = new JournalStore({ file });
    write(writer, record(1));
    using reader = new JournalStore({ file, isReadOnly: true });
    write(writer, record(2));
    expect(numbers(reader.query({}))).toEqual([2, 1]);
    expect(() => write(reader, record(3))).toThrow(/readonly/);
  });
});

describe('a file that is no journal', () => {
  test('of a newer version or of another program is refused, and left as it is', async () => {
    const file = await newFile();
    new JournalStore({ file })[Symbol.dispose]();
    const newer = new DatabaseSync(file);
    newer.exec('PRAGMA user_version = 99');
    newer.close();
    expect(() => new JournalStore({ file })).toThrow(/newer SceneBus wrote it/);
    const other = join(dirname(file), 'other.db');
    const foreign = new DatabaseSync(other);
    foreign.exec('CREATE TABLE mine (x)');
    foreign.close();
    expect(() => new JournalStore({ file: other })).toThrow(/another database/);
  });

  test('because it is damaged is told apart, and set aside whole', async () => {
    const file = await newFile();
    mkdirSync(dirname(file));
    writeFileSync(file, 'no database at all '.repeat(100));
    writeFileSync(`${file}-wal`, 'log');
    const bytes = readFileSync(file);
    let damage: unknown;
    try {
      new JournalStore({ file });
    } catch (error) {
      damage = error;
    }
    expect(isDamage(damage)).toBe(true);
    expect(isDamage(new Error('no'))).toBe(false);
    const aside = setAside(file, 0);
    expect(aside).toBe(`${file}.damaged-1970-01-01T00-00-00.000Z`);
    expect(readFileSync(aside)).toEqual(bytes);
    expect(existsSync(file)).toBe(false);
    using store = new JournalStore({ file });
    expect(write(store, record(1))).toEqual([1]);
  });
});
