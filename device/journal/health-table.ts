/** The rows of the health series in the journal's file. Synchronous, in the journal's thread. */
import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import {
  bucketOf,
  HEALTH_LEVELS,
  type HealthBucket,
  type HealthQuery,
  type HealthSample,
  type HealthSeries,
  joinBuckets,
  type Spread,
  stepFor,
  toSeries,
} from './health-series.js';

interface HealthRow {
  readonly level: number;
  readonly at_ms: number;
  readonly run: string;
  readonly count: number;
  /** JSON: names of the numbers, in the order of `body`. */
  readonly names: string;
  /** JSON: a number each, or its spread. */
  readonly body: string;
}

/** Rows that one transaction joins; the rest follows with the next sample. */
const JOINED_AT_ONCE = 400;

export class HealthTable {
  readonly #database: DatabaseSyncInstance;
  readonly #statements = new Map<string, StatementSyncInstance>();

  constructor(database: DatabaseSyncInstance) {
    this.#database = database;
  }

  /** Within the caller's transaction. */
  insert(sample: HealthSample): void {
    this.#put(0, bucketOf(sample));
    for (const level of [0, 1]) this.#join(level, sample.atMs);
  }

  /** Of all granularities, in spans of one length. */
  series(query: HealthQuery): HealthSeries {
    const rows = this.#all('SELECT * FROM health WHERE at_ms >= ? AND at_ms < ? ORDER BY at_ms', query.from, query.to);
    // Not finer than the oldest rows are: they would look like gaps.
    const coarsest = rows.reduce((level, row) => Math.max(level, row.level), 0);
    const stepMs = Math.max(stepFor(query), HEALTH_LEVELS[coarsest]?.spanMs ?? 0);
    return toSeries(joinBuckets(this.#buckets(rows), stepMs), stepMs);
  }

  /** Removes what is older than a month or than the journal keeps, and the oldest beyond `maxBytes`. Returns how many. */
  retain(maxAgeMs: number, maxBytes: number, nowMs: number): number {
    const last = HEALTH_LEVELS.at(-1)!;
    let removed = Number(
      this.#run('DELETE FROM health WHERE at_ms < ?', nowMs - Math.min(maxAgeMs, last.keepMs)).changes,
    );
    for (;;) {
      const [size] = this.#all<{ bytes: number; rows: number }>(
        'SELECT coalesce(sum(length(body) + 64), 0) AS bytes, count(*) AS rows FROM health',
      );
      if (size === undefined || size.bytes <= maxBytes || size.rows === 0) break;
      const surplus = Math.ceil(size.rows * (1 - maxBytes / size.bytes)) + 1;
      removed += Number(
        this.#run(
          'DELETE FROM health WHERE (level, at_ms, run) IN (SELECT level, at_ms, run FROM health ORDER BY at_ms LIMIT ?)',
          surplus,
        ).changes,
      );
    }
    if (removed > 0) this.#run('DELETE FROM health_names WHERE number NOT IN (SELECT DISTINCT names FROM health)');
    return removed;
  }

  /** Whole spans of the next granularity that are older than this one is kept. */
  #join(level: number, nowMs: number): void {
    const [from, to] = [HEALTH_LEVELS[level]!, HEALTH_LEVELS[level + 1]!];
    const cutoff = Math.floor((nowMs - from.keepMs) / to.spanMs) * to.spanMs;
    const rows = this.#all(
      'SELECT * FROM health WHERE level = ? AND at_ms < ? ORDER BY at_ms LIMIT ?',
      level,
      cutoff,
      JOINED_AT_ONCE,
    );
    if (rows.length === 0) return;
    // The last span may go on beyond what was read; the next call puts its rest to it.
    for (const bucket of joinBuckets(this.#buckets(rows), to.spanMs)) this.#put(level + 1, bucket);
    for (const { at_ms, run } of rows)
      this.#run('DELETE FROM health WHERE level = ? AND at_ms = ? AND run = ?', level, at_ms, run);
  }

  /** A clock that was set back, or a span that was cut, meets a row that is there: both become one. */
  #put(level: number, bucket: HealthBucket): void {
    const there = this.#all(
      'SELECT * FROM health WHERE level = ? AND at_ms = ? AND run = ?',
      level,
      bucket.atMs,
      bucket.run,
    );
    const [whole = bucket] = joinBuckets([...this.#buckets(there), bucket], HEALTH_LEVELS[level]!.spanMs);
    const names = Object.keys(whole.metrics);
    const body = names.map((name) => compact(whole.metrics[name]!));
    this.#run(
      'INSERT OR REPLACE INTO health (level, at_ms, run, count, names, body) VALUES (?, ?, ?, ?, ?, ?)',
      level,
      whole.atMs,
      whole.run,
      whole.count,
      this.#namesNumber(JSON.stringify(names)),
      JSON.stringify(body),
    );
  }

  /** The same names come with nearly every row: they are kept once. */
  #namesNumber(names: string): number {
    this.#run('INSERT OR IGNORE INTO health_names (names) VALUES (?)', names);
    return this.#all<{ number: number }>('SELECT number FROM health_names WHERE names = ?', names)[0]!.number;
  }

  *#buckets(rows: readonly HealthRow[]): Generator<HealthBucket> {
    const known = new Map(
      this.#all<{ number: number; names: string }>('SELECT number, names FROM health_names').map(
        ({ number, names }) => [number, JSON.parse(names) as string[]] as const,
      ),
    );
    for (const { at_ms: atMs, run, count, names, body } of rows) {
      const values = JSON.parse(body) as (number | Spread)[];
      const metrics = (known.get(Number(names)) ?? []).map((name, index) => [name, spread(values[index]!)] as const);
      yield { atMs, run, count, metrics: Object.fromEntries(metrics) };
    }
  }

  #prepare(sql: string): StatementSyncInstance {
    const known = this.#statements.get(sql) ?? this.#database.prepare(sql);
    this.#statements.set(sql, known);
    return known;
  }

  #run(sql: string, ...values: (string | number)[]) {
    return this.#prepare(sql).run(...values);
  }

  #all<Row = HealthRow>(sql: string, ...values: (string | number)[]): Row[] {
    return this.#prepare(sql).all(...values) as Row[];
  }
}

function compact([least, mean, greatest]: Spread): number | Spread {
  return least === greatest ? least : [least, Number(mean.toPrecision(9)), greatest];
}

function spread(value: number | Spread): Spread {
  return typeof value === 'number' ? [value, value, value] : value;
}
