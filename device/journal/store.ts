import { mkdirSync, readdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance, type StatementSyncInstance } from '@photostructure/sqlite';
import type { HealthQuery, HealthSample, HealthSeries } from './health-series.js';
import { HealthTable } from './health-table.js';
import type {
  FoundScene,
  JournalEvent,
  JournalFrame,
  JournalPage,
  JournalPicture,
  JournalQuery,
  PictureQuery,
  SceneSearch,
} from './query.js';
import { matchExpression, runOf } from './query.js';
import type { EventRecord, StoredEvent, StoredKind } from './record.js';
import { migrate } from './schema.js';
import { StoreError } from './store-error.js';

export interface JournalLimits {
  /** What is older goes. */
  readonly maxAgeMs: number;
  /** Of the file: the oldest pictures go first, then the oldest events. */
  readonly maxBytes: number;
}

export interface StoreOptions {
  /** A database file, or `:memory:`. */
  readonly file: string;
  /** true: nothing is written, for reading beside a running service. */
  readonly isReadOnly?: boolean | undefined;
}

export interface StoreSize {
  readonly events: number;
  readonly frames: number;
  readonly bytes: number;
}

/** What one transaction takes. */
export interface JournalWrite {
  readonly records: readonly EventRecord[];
  readonly frames: readonly JournalFrame[];
  readonly samples?: readonly HealthSample[] | undefined;
  /** Sinks and the last event that each is done with. */
  readonly cursors: readonly (readonly [sink: string, seq: number])[];
}

interface EventRow {
  readonly seq: number;
  readonly id: string;
  readonly kind: StoredKind;
  readonly at_ms: number;
  readonly camera: string | null;
  readonly frame_id: string | null;
  readonly frame_at_ms: number | null;
  readonly frame_width: number | null;
  readonly frame_height: number | null;
  readonly body: string;
}

const COLUMNS = 'seq, id, kind, at_ms, camera, frame_id, frame_at_ms, frame_width, frame_height, body';
export const MEMORY = ':memory:';
/** The write-ahead log is cut down to this after a checkpoint. */
const WAL_BYTES = 4 * 2 ** 20;
/** What retention removes in one transaction. A picture has the size of some hundred events. */
const REMOVED_AT_ONCE = { events: 100, frames: 20 };
/** Of the file, at most, for the health series. */
const HEALTH_SHARE = 1 / 8;
const LIMIT = { default: 100, max: 1_000, pictures: 5_000 };
/** SQLITE_CORRUPT, SQLITE_NOTADB (https://www.sqlite.org/rescode.html). */
const DAMAGE_CODES: readonly number[] = [11, 26];

/**
 * The journal's file. Synchronous: it belongs into a thread of its own, because a commit waits for the disk. WAL with
 * synchronous = FULL: a commit that returned survives a power cut.
 *
 * Disposing it leaves the file open until the garbage collector has found the last prepared statement. Only the end of
 * its thread closes the file for certain: before the file is moved or reopened, that thread has to have ended.
 */
export class JournalStore implements Disposable {
  readonly #database: DatabaseSyncInstance;
  readonly #statements = new Map<string, StatementSyncInstance>();
  readonly #health: HealthTable;

  /** @throws StoreError ERR_CONFIG_INVALID (not a journal, or of a newer version); errors of SQLite otherwise. */
  constructor({ file, isReadOnly = false }: StoreOptions) {
    if (!isReadOnly && file !== MEMORY) mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    this.#database = new DatabaseSync(file, { readOnly: isReadOnly, timeout: 5_000 });
    this.#health = new HealthTable(this.#database);
    try {
      if (!isReadOnly) this.#prepareFile(file);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #prepareFile(file: string): void {
    // Before the first table is made: later it has no effect.
    this.#database.exec('PRAGMA auto_vacuum = INCREMENTAL');
    this.#database.exec('PRAGMA journal_mode = WAL');
    this.#database.exec(`PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${WAL_BYTES}`);
    migrate(this.#database, file);
  }

  /** All of it or nothing. Numbers the records; one that is there already keeps its number. */
  write({ records, frames, samples = [], cursors }: JournalWrite): number[] {
    return this.#transaction(() => {
      const seqs = records.map((record) => this.#insert(record));
      for (const frame of frames) this.#insertFrame(frame);
      for (const sample of samples) this.#health.insert(sample);
      for (const [sink, seq] of cursors) this.#setCursor(sink, seq);
      return seqs;
    });
  }

  /** Of several runs the newest. */
  frame(id: string, run?: string): JournalFrame | undefined {
    const row = this.#get<Record<string, never>>(
      `SELECT id, run, camera, at_ms AS atMs, width, height, jpeg FROM frame
       WHERE id = ? AND (?2 IS NULL OR run = ?2) ORDER BY number DESC LIMIT 1`,
      id,
      run ?? null,
    );
    return row && ({ ...row } as unknown as JournalFrame);
  }

  healthSeries(query: HealthQuery): HealthSeries {
    return this.#health.series(query);
  }

  /** Of all granularities. */
  get healthRows(): number {
    return this.#get<{ n: number }>('SELECT count(*) AS n FROM health')?.n ?? 0;
  }

  /** Oldest first. @throws StoreError ERR_ARGUMENT_INVALID for a limit that is none */
  pictures({ camera, from, to, limit }: PictureQuery): JournalPicture[] {
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT.pictures)
      throw invalid(`Expected a limit from 1 to ${LIMIT.pictures}, but received ${limit}.`);
    return this.#all<Record<string, never>>(
      `SELECT id, run, camera, at_ms AS atMs, width, height FROM frame
       WHERE camera = ? AND at_ms >= ? AND at_ms < ? ORDER BY at_ms DESC, number DESC LIMIT ?`,
      camera,
      from,
      to,
      limit,
    )
      .map((row) => ({ ...row }) as unknown as JournalPicture)
      .reverse();
  }

  /** @throws StoreError ERR_ARGUMENT_INVALID for a cursor or limit that is none. */
  query(query: JournalQuery): JournalPage {
    const limit = query.limit ?? LIMIT.default;
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT.max)
      throw invalid(`Expected a limit from 1 to ${LIMIT.max}, but received ${limit}.`);
    const isOldestFirst = query.order === 'oldest-first';
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, ...more: (string | number)[]): void => {
      conditions.push(condition);
      values.push(...more);
    };
    if (query.kinds !== undefined) where(`kind IN (${query.kinds.map(() => '?').join(', ')})`, ...query.kinds);
    if (query.camera !== undefined) where('camera = ?', query.camera);
    if (query.frameId !== undefined) where('frame_id = ?', query.frameId);
    if (query.from !== undefined) where('at_ms >= ?', query.from);
    if (query.to !== undefined) where('at_ms < ?', query.to);
    if (query.cursor !== undefined) where(isOldestFirst ? 'seq > ?' : 'seq < ?', parseCursor(query.cursor));
    if (query.text !== undefined) {
      const match = matchExpression(query.text);
      if (match === null) return { events: [], cursor: null };
      where('seq IN (SELECT rowid FROM event_text WHERE event_text MATCH ?)', match);
    }
    const filter = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const order = isOldestFirst ? 'ASC' : 'DESC';
    const rows = this.#all<EventRow>(
      `SELECT ${COLUMNS} FROM event ${filter} ORDER BY seq ${order} LIMIT ?`,
      ...values,
      limit + 1,
    );
    const page = rows.slice(0, limit);
    return { events: page.map(toEvent), cursor: rows.length > limit ? String(page.at(-1)?.seq) : null };
  }

  /**
   * Scenes whose descriptions have any of the words, the best first; where they are fewer than the limit, the newest others
   * with a picture behind them.
   * @throws StoreError ERR_ARGUMENT_INVALID for a limit that is none
   */
  findScenes({ text, limit, ...search }: SceneSearch): FoundScene[] {
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT.max)
      throw invalid(`Expected a limit from 1 to ${LIMIT.max}, but received ${limit}.`);
    const { condition, values } = sceneCondition(search);
    const match = matchExpression(text, ' OR ');
    const byWords =
      match === null
        ? []
        : this.#all<EventRow & { readonly rank: number }>(
            `SELECT ${COLUMNS}, bm25(event_text) AS rank FROM event_text JOIN event ON seq = event_text.rowid
             WHERE event_text MATCH ? AND ${condition} ORDER BY rank, seq DESC LIMIT ?`,
            match,
            ...values,
            limit,
          );
    const found: FoundScene[] = byWords.map((row) => this.#foundScene(row, -row.rank));
    if (found.length >= limit) return found;
    const known = new Set(byWords.map(({ seq }) => seq));
    const newest = this.#all<EventRow>(
      `SELECT ${COLUMNS} FROM event WHERE ${condition} ORDER BY seq DESC LIMIT ?`,
      ...values,
      limit,
    );
    const others = newest.filter(({ seq }) => !known.has(seq)).map((row) => this.#foundScene(row, null));
    return [...found, ...others.filter(({ isKept }) => isKept).slice(0, limit - found.length)];
  }

  #foundScene(row: EventRow, wordScore: number | null): FoundScene {
    const event = toEvent(row);
    const kept = this.#get('SELECT 1 FROM frame WHERE id = ? AND run = ?', row.frame_id, event.run);
    return { event, wordScore, isKept: kept !== undefined };
  }

  /** Events after `seq` in their order, at most `limit`. */
  after(seq: number, kinds: readonly StoredKind[], limit: number): StoredEvent[] {
    const marks = kinds.map(() => '?').join(', ');
    return this.#all<EventRow>(
      `SELECT ${COLUMNS} FROM event WHERE seq > ? AND kind IN (${marks}) ORDER BY seq LIMIT ?`,
      seq,
      ...kinds,
      limit,
    ).map(toStored);
  }

  /** Number of the last event that a sink is done with. A sink that is new begins with what comes. */
  cursor(sink: string): number {
    const known = this.#get<{ seq: number }>('SELECT seq FROM cursor WHERE sink = ?', sink);
    if (known !== undefined) return known.seq;
    const seq = this.lastSeq;
    this.#setCursor(sink, seq);
    return seq;
  }

  /** Of a sink that is no more: otherwise events would be kept for it. */
  forget(sink: string): void {
    this.#run('DELETE FROM cursor WHERE sink = ?', sink);
  }

  get lastSeq(): number {
    return this.#get<{ seq: number }>('SELECT coalesce(max(seq), 0) AS seq FROM event')?.seq ?? 0;
  }

  get size(): StoreSize {
    const count = (table: string) => this.#get<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)?.n ?? 0;
    return { events: count('event'), frames: count('frame'), bytes: this.#usedBytes };
  }

  /**
   * Removes what is too old or too much. Events that a sink still waits for stay, however old they are, for as long as
   * the file is not too large.
   */
  retain({ maxAgeMs, maxBytes }: JournalLimits, nowMs: number): { readonly events: number; readonly frames: number } {
    const removed = { events: 0, frames: 0 };
    const samples = this.#transaction(() => this.#health.retain(maxAgeMs, HEALTH_SHARE * maxBytes, nowMs));
    const oldest = nowMs - maxAgeMs;
    const done = this.#get<{ seq: number }>('SELECT coalesce(min(seq), 9e15) AS seq FROM cursor')?.seq ?? 0;
    removed.frames += whole(() => this.#removeFrames('at_ms < ?', oldest));
    removed.events += whole(() => this.#removeEvents('at_ms < ? AND seq <= ?', oldest, done));
    while (this.#usedBytes > maxBytes) {
      const frames = this.#removeFrames('1');
      const events = frames > 0 ? 0 : this.#removeEvents('1');
      if (frames + events === 0) break;
      removed.frames += frames;
      removed.events += events;
    }
    // Gives the pages back to the disk; the rest of the file moves nowhere.
    if (removed.events + removed.frames + samples > 0) this.#all('PRAGMA incremental_vacuum');
    return removed;
  }

  [Symbol.dispose](): void {
    this.#statements.clear();
    this.#database.close();
  }

  get #usedBytes(): number {
    const page = (name: string) => Object.values(this.#get<Record<string, number>>(`PRAGMA ${name}`) ?? {})[0] ?? 0;
    return (page('page_count') - page('freelist_count')) * page('page_size');
  }

  #setCursor(sink: string, seq: number): void {
    this.#run(
      'INSERT INTO cursor (sink, seq) VALUES (?, ?) ON CONFLICT (sink) DO UPDATE SET seq = max(seq, excluded.seq)',
      sink,
      seq,
    );
  }

  #insertFrame({ id, run, camera, atMs, width, height, jpeg }: JournalFrame): void {
    this.#run(
      'INSERT OR IGNORE INTO frame (id, run, camera, at_ms, width, height, jpeg) VALUES (?, ?, ?, ?, ?, ?, ?)',
      id,
      run,
      camera,
      atMs,
      width,
      height,
      jpeg,
    );
  }

  #insert(record: EventRecord): number {
    const { id, kind, atMs, camera, frame, text, body } = record;
    const place = [frame?.id ?? null, frame?.capturedAtMs ?? null, frame?.width ?? null, frame?.height ?? null];
    const { changes, lastInsertRowid } = this.#run(
      `INSERT INTO event (id, kind, at_ms, camera, frame_id, frame_at_ms, frame_width, frame_height, body)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
      id,
      kind,
      atMs,
      camera,
      ...place,
      body,
    );
    if (changes === 0) return this.#get<{ seq: number }>('SELECT seq FROM event WHERE id = ?', id)?.seq ?? 0;
    const seq = Number(lastInsertRowid);
    if (text !== null) this.#run('INSERT INTO event_text (rowid, text) VALUES (?, ?)', seq, text);
    return seq;
  }

  #removeFrames(condition: string, ...values: number[]): number {
    return Number(
      this.#run(
        `DELETE FROM frame WHERE number IN (SELECT number FROM frame WHERE ${condition} ORDER BY number LIMIT ${REMOVED_AT_ONCE.frames})`,
        ...values,
      ).changes,
    );
  }

  #removeEvents(condition: string, ...values: number[]): number {
    return this.#transaction(() => {
      const seqs = this.#all<{ seq: number }>(
        `SELECT seq FROM event WHERE ${condition} ORDER BY seq LIMIT ${REMOVED_AT_ONCE.events}`,
        ...values,
      );
      for (const { seq } of seqs) {
        this.#run('DELETE FROM event_text WHERE rowid = ?', seq);
        this.#run('DELETE FROM event WHERE seq = ?', seq);
      }
      return seqs.length;
    });
  }

  #transaction<T>(work: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      // A full disk may have ended the transaction already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  #prepare(sql: string): StatementSyncInstance {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #run(sql: string, ...values: (string | number | null | Uint8Array)[]) {
    return this.#prepare(sql).run(...values);
  }

  #get<Row>(sql: string, ...values: (string | number | null)[]): Row | undefined {
    return this.#prepare(sql).get(...values) as Row | undefined;
  }

  #all<Row>(sql: string, ...values: (string | number | null)[]): Row[] {
    return this.#prepare(sql).all(...values) as Row[];
  }
}

function sceneCondition({ camera, from, to }: Omit<SceneSearch, 'text' | 'limit'>) {
  const parts: readonly (readonly [string, string | number | undefined])[] = [
    ['camera = ?', camera],
    ['at_ms >= ?', from],
    ['at_ms < ?', to],
  ];
  const given = parts.filter(([, value]) => value !== undefined);
  const condition = ["kind = 'scene'", 'frame_id IS NOT NULL', ...given.map(([sql]) => sql)].join(' AND ');
  return { condition, values: given.map(([, value]) => value as string | number) };
}

/** The sum of batches until there is none. */
function whole(removeBatch: () => number): number {
  let sum = 0;
  for (let count = removeBatch(); count > 0; count = removeBatch()) sum += count;
  return sum;
}

/** Whether the file itself is spoilt, and not only the disk full or away. */
export function isDamage(error: unknown): boolean {
  const { errcode, message } = (error ?? {}) as { readonly errcode?: unknown; readonly message?: unknown };
  if (typeof errcode === 'number') return DAMAGE_CODES.includes(errcode & 0xff);
  // What fails while rows are read comes without its number (@photostructure/sqlite 1.2), with SQLite's words alone.
  return typeof message === 'string' && /disk image is malformed|is not a database/.test(message);
}

/** Renames a damaged database and what belongs to it; nothing is deleted. Returns the new name. */
export function setAside(file: string, nowMs: number): string {
  const name = basename(file);
  const stamp = new Date(nowMs).toISOString().replaceAll(':', '-');
  const aside = `${name}.damaged-${stamp}`;
  for (const entry of readdirSync(dirname(file))) {
    if (entry !== name && entry !== `${name}-wal` && entry !== `${name}-shm`) continue;
    renameSync(join(dirname(file), entry), join(dirname(file), aside + entry.slice(name.length)));
  }
  return join(dirname(file), aside);
}

function toStored(row: EventRow): StoredEvent {
  return {
    seq: row.seq,
    id: row.id,
    kind: row.kind,
    atMs: row.at_ms,
    camera: row.camera,
    frame:
      row.frame_id === null
        ? null
        : {
            id: row.frame_id,
            capturedAtMs: row.frame_at_ms ?? 0,
            width: row.frame_width ?? 0,
            height: row.frame_height ?? 0,
          },
    text: null,
    body: row.body,
  };
}

function toEvent(row: EventRow): JournalEvent {
  const { id, kind, atMs, camera, frame, body } = toStored(row);
  // What a caller is still to be given says the same once more.
  const { reply: _reply, ...rest } = JSON.parse(body);
  return { id, run: runOf(id), kind, atMs, camera, frame, body: rest };
}

function parseCursor(cursor: string): number {
  if (!/^\d{1,15}$/.test(cursor))
    throw invalid(`Expected the cursor of an earlier page, but received ${JSON.stringify(cursor)}.`);
  return Number(cursor);
}

function invalid(message: string): StoreError {
  return new StoreError('ERR_ARGUMENT_INVALID', message);
}
