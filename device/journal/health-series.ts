/** How the device was, over time: samples of numbers, coarser the older they are. Pure: the table is elsewhere. */

/** Numbers of one moment, by name; names carry units. */
export interface HealthSample {
  /** Unix time, milliseconds. */
  readonly atMs: number;
  /** Which start of the device it belongs to: counters begin anew with each. */
  readonly run: string;
  readonly metrics: Readonly<Record<string, number>>;
}

/** Least, mean and greatest of a number within a span. */
export type Spread = readonly [least: number, mean: number, greatest: number];

/** All samples of one run within one span of time. */
export interface HealthBucket {
  /** Start of the span, Unix milliseconds. */
  readonly atMs: number;
  readonly run: string;
  /** Samples in it. */
  readonly count: number;
  readonly metrics: Readonly<Record<string, Spread>>;
}

/** Of one granularity: rows of `spanMs` are kept for `keepMs`, then joined to rows of the next. */
export interface HealthLevel {
  readonly spanMs: number;
  readonly keepMs: number;
}

const [MINUTE_MS, HOUR_MS, DAY_MS] = [60_000, 3_600_000, 86_400_000];

/** At a sample every ten seconds: at most 2 160, 4 320 and 4 320 rows. The last is also bounded by the journal's age. */
export const HEALTH_LEVELS: readonly HealthLevel[] = [
  { spanMs: 1, keepMs: 6 * HOUR_MS },
  { spanMs: MINUTE_MS, keepMs: 3 * DAY_MS },
  { spanMs: 10 * MINUTE_MS, keepMs: 30 * DAY_MS },
];

/** What is asked of the series. */
export interface HealthQuery {
  /** Unix milliseconds: not before. */
  readonly from: number;
  /** Unix milliseconds: before. */
  readonly to: number;
  /** At most so many spans of time come back. */
  readonly points: number;
}

/** Columns: one entry in every list for each span of time and run that has samples, oldest first. */
export interface HealthSeries {
  /** Length of a span, milliseconds. */
  readonly stepMs: number;
  /** Starts of the spans, Unix milliseconds. */
  readonly times: readonly number[];
  /** Names of the runs, each once. */
  readonly runs: readonly string[];
  /** Of each entry, as an index into `runs`. */
  readonly run: readonly number[];
  /** By name; null where there is no such number. */
  readonly series: Readonly<Record<string, HealthColumn>>;
}

/** One number over time, in the order of `times`. */
export interface HealthColumn {
  readonly least: readonly (number | null)[];
  readonly mean: readonly (number | null)[];
  readonly greatest: readonly (number | null)[];
}

export function bucketOf({ atMs, run, metrics }: HealthSample): HealthBucket {
  const spreads = Object.entries(metrics).flatMap(([name, value]) =>
    Number.isFinite(value) ? [[name, [value, value, value]] as const] : [],
  );
  return { atMs, run, count: 1, metrics: Object.fromEntries(spreads) };
}

/** Joins buckets of the same run and span. Their means are weighted by their samples. Order: by time, then as given. */
export function joinBuckets(buckets: Iterable<HealthBucket>, spanMs: number): HealthBucket[] {
  const joined = new Map<string, { atMs: number; run: string; count: number; sums: Map<string, Sum> }>();
  for (const { atMs, run, count, metrics } of buckets) {
    const startMs = Math.floor(atMs / spanMs) * spanMs;
    const key = `${startMs} ${run}`;
    const into = joined.get(key) ?? { atMs: startMs, run, count: 0, sums: new Map<string, Sum>() };
    joined.set(key, into);
    into.count += count;
    for (const [name, [least, mean, greatest]] of Object.entries(metrics)) {
      const sum = into.sums.get(name) ?? { least, greatest, total: 0, count: 0 };
      into.sums.set(name, sum);
      sum.least = Math.min(sum.least, least);
      sum.greatest = Math.max(sum.greatest, greatest);
      sum.total += mean * count;
      sum.count += count;
    }
  }
  return [...joined.values()]
    .map(({ sums, ...bucket }) => ({
      ...bucket,
      metrics: Object.fromEntries(
        [...sums].map(([name, { least, greatest, total, count }]) => [name, [least, total / count, greatest] as const]),
      ),
    }))
    .sort((one, other) => one.atMs - other.atMs);
}

interface Sum {
  least: number;
  greatest: number;
  total: number;
  count: number;
}

/** Steps that people read off an axis, from the coarsest of what is stored on. */
const STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400].map(
  (seconds) => seconds * 1_000,
);

/** Length of the spans that `points` of them cover the time with. */
export function stepFor({ from, to, points }: HealthQuery): number {
  const wanted = (to - from) / points;
  return STEPS_MS.find((step) => step >= wanted) ?? Math.ceil(wanted / DAY_MS) * DAY_MS;
}

export function toSeries(buckets: readonly HealthBucket[], stepMs: number): HealthSeries {
  const names = new Set(buckets.flatMap(({ metrics }) => Object.keys(metrics)));
  const runs = [...new Set(buckets.map(({ run }) => run))];
  const column = (name: string): HealthColumn => {
    const of = (part: 0 | 1 | 2) => buckets.map(({ metrics }) => round(metrics[name]?.[part]));
    return { least: of(0), mean: of(1), greatest: of(2) };
  };
  return {
    stepMs,
    times: buckets.map(({ atMs }) => atMs),
    runs,
    run: buckets.map(({ run }) => runs.indexOf(run)),
    series: Object.fromEntries([...names].sort().map((name) => [name, column(name)])),
  };
}

/** Six digits: a chart has no room for more, and bytes of memory need not fill a line. */
function round(value: number | undefined): number | null {
  if (value === undefined) return null;
  return Number.isInteger(value) ? value : Number(value.toPrecision(6));
}
