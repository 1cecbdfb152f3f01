import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { describe, expect, test } from 'vitest';
import { type HealthSample, joinBuckets, stepFor } from '#device/journal/health-series.js';
import { HealthTable } from '#device/journal/health-table.js';
import { Journal } from '#device/journal/journal.js';
import { JournalStore } from '#device/journal/store.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];
/** A whole day of the epoch, so that spans begin where the test says. */
const START = 20_000 * DAY;

const sample = (atMs: number, value: number, more: Partial<HealthSample> = {}): HealthSample => ({
  atMs: START + atMs,
  run: 'first',
  metrics: { load: value, 'framesPerSecond cam': 30 },
  ...more,
});
const newFile = async () => join(await makeTemporaryFolder('scenebus-health-'), 'journal.db');
const put = (store: JournalStore, samples: readonly HealthSample[]) =>
  store.write({ records: [], frames: [], samples, cursors: [] });
const all = { from: START, to: START + 4 * DAY, points: 1_000 };
const hour = { from: START, to: START + HOUR, points: 360 };

describe('the series of health', () => {
  test('gives each span its least, mean and greatest, weighted by samples', () => {
    const bucket = (atMs: number, count: number, spread: [number, number, number]) => ({
      atMs,
      run: 'r',
      count,
      metrics: { load: spread },
    });
    expect(joinBuckets([bucket(0, 1, [9, 9, 9]), bucket(30, 3, [1, 5, 8]), bucket(61, 1, [2, 2, 2])], 60)).toEqual([
      bucket(0, 4, [1, 6, 9]),
      bucket(60, 1, [2, 2, 2]),
    ]);
  });

  test('is not joined over a start of the device: counters begin anew', () => {
    const of = (run: string) => ({ atMs: 0, run, count: 1, metrics: { load: [1, 1, 1] as const } });
    expect(joinBuckets([of('a'), of('b')], MINUTE).map(({ run }) => run)).toEqual(['a', 'b']);
  });

  test('is kept over a restart, in the order of time, with both runs', async () => {
    const file = await newFile();
    {
      using store = new JournalStore({ file });
      put(store, [sample(0, 1), sample(10 * SECOND, 3)]);
    }
    using store = new JournalStore({ file });
    put(store, [sample(20 * SECOND, 0, { run: 'second' })]);
    expect(store.healthSeries({ from: START, to: START + 30 * SECOND, points: 30 })).toEqual({
      stepMs: SECOND,
      times: [START, START + 10 * SECOND, START + 20 * SECOND],
      runs: ['first', 'second'],
      run: [0, 0, 1],
      series: {
        'framesPerSecond cam': { least: [30, 30, 30], mean: [30, 30, 30], greatest: [30, 30, 30] },
        load: { least: [1, 3, 0], mean: [1, 3, 0], greatest: [1, 3, 0] },
      },
    });
  });

  test('comes in as many spans as were asked for, and only of the time that was asked for', async () => {
    using store = new JournalStore({ file: await newFile() });
    put(
      store,
      Array.from({ length: 360 }, (_, i) => sample(10 * SECOND * i, i)),
    );
    const whole = store.healthSeries({ ...hour, points: 60 });
    expect(whole.stepMs).toBe(MINUTE);
    expect(whole.times).toHaveLength(60);
    expect([whole.series.load?.least[1], whole.series.load?.mean[1], whole.series.load?.greatest[1]]).toEqual([
      6, 8.5, 11,
    ]);
    const part = store.healthSeries({ from: START + 10 * MINUTE, to: START + 20 * MINUTE, points: 10 });
    expect(part.times).toEqual(Array.from({ length: 10 }, (_, i) => START + (10 + i) * MINUTE));
  });

  test('grows coarser with age, and loses neither extremes nor means by it', async () => {
    using store = new JournalStore({ file: await newFile() });
    // Three and a half days, a sample every half minute; one of them stands out.
    const count = (3 * DAY + 12 * HOUR) / (30 * SECOND);
    const samples = Array.from({ length: count }, (_, i) => sample(30 * SECOND * i, i === 777 ? 500 : 10));
    for (let start = 0; start < count; start += 500) put(store, samples.slice(start, start + 500));
    const whole = store.healthSeries(all);
    expect(Math.max(...whole.series.load!.greatest.map(Number))).toBe(500);
    expect(Math.min(...whole.series.load!.least.map(Number))).toBe(10);
    const rows = store.healthRows;
    // Six hours as sampled, three days in minutes, the rest in tens of minutes; a join is at most a span late.
    expect(rows).toBeLessThan(6 * 120 + 3 * 1_440 + 100);
    const old = store.healthSeries({ from: START, to: START + 8 * HOUR, points: 1_000 });
    expect(old.stepMs).toBe(10 * MINUTE);
    // The one of 500 among the 20 of its span.
    expect(old.series.load?.mean.filter((mean) => mean !== 10)).toEqual([(19 * 10 + 500) / 20]);
  });

  test('takes a clock that is set back: what meets a row becomes one with it', async () => {
    using store = new JournalStore({ file: await newFile() });
    put(store, [sample(0, 1), sample(10 * SECOND, 1), sample(0, 5)]);
    expect(store.healthSeries({ from: START, to: START + 20 * SECOND, points: 20 }).series.load).toEqual({
      least: [1, 1],
      mean: [3, 1],
      greatest: [5, 1],
    });
  });

  test('numbers that are none are left out', async () => {
    using store = new JournalStore({ file: await newFile() });
    put(store, [sample(0, Number.NaN), sample(10 * SECOND, 1, { metrics: { other: 2, gone: Infinity } })]);
    expect(Object.keys(store.healthSeries(all).series)).toEqual(['framesPerSecond cam', 'other']);
  });

  test('is bounded by age and by bytes, the oldest first, and leaves events in a small journal', async () => {
    using store = new JournalStore({ file: await newFile() });
    const metrics = (i: number) =>
      Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`metric${n}`, 1_000_000 + n + i]));
    put(
      store,
      Array.from({ length: 2_000 }, (_, i) => sample(10 * SECOND * i, i, { metrics: metrics(i) })),
    );
    const before = store.healthRows;
    store.retain({ maxAgeMs: 365 * DAY, maxBytes: 400_000 }, START + DAY);
    const left = store.healthRows;
    expect(left).toBeLessThan(before / 2);
    expect(left).toBeGreaterThan(10);
    expect(store.healthSeries(all).times.at(-1)).toBeGreaterThan(START + 1_900 * 10 * SECOND);
    store.retain({ maxAgeMs: HOUR, maxBytes: 2 ** 30 }, START + 40 * DAY);
    expect(store.healthRows).toBe(0);
  });

  test.each([
    [HOUR, 240, 15 * SECOND],
    [HOUR, 1_000, 5 * SECOND],
    [DAY, 240, 10 * MINUTE],
    [30 * DAY, 240, 4 * HOUR],
    [1e15, 1, 11_574_075 * DAY],
  ])('%i ms in %i spans have %i ms each', (length, points, expected) => {
    expect(stepFor({ from: 0, to: length, points })).toBe(expected);
  });
});

describe('the journal', () => {
  test('writes samples with the next event or a few at once, and always before it is asked or ends', async () => {
    const file = await newFile();
    const limits = { maxAgeMs: 365 * DAY, maxBytes: 2 ** 30 };
    {
      await using journal = await Journal.open({ file, limits });
      for (let i = 0; i < 8; i++) journal.recordHealth(sample(10 * SECOND * i, i));
      expect((await journal.healthSeries(hour)).times).toHaveLength(8);
      journal.recordHealth(sample(10 * MINUTE, 9));
    }
    await using again = await Journal.open({ file, limits });
    const { times, series } = await again.healthSeries(hour);
    expect(times).toHaveLength(9);
    expect(series.load?.greatest.at(-1)).toBe(9);
  });

  test('of an earlier version gets the table', async () => {
    const file = await newFile();
    {
      using store = new JournalStore({ file });
      put(store, []);
    }
    const database = new DatabaseSync(file);
    database.exec('DROP TABLE health; DROP TABLE health_names; PRAGMA user_version = 1');
    database.close();
    using store = new JournalStore({ file });
    put(store, [sample(0, 1)]);
    expect(store.healthSeries(all).times).toHaveLength(1);
  });
});

test('the table alone can be asked while it is empty', () => {
  const database = new DatabaseSync(':memory:');
  database.exec(
    'CREATE TABLE health (level, at_ms, run, count, names, body); CREATE TABLE health_names (number, names)',
  );
  expect(new HealthTable(database).series(all)).toMatchObject({ times: [], runs: [], run: [], series: {} });
  database.close();
});
