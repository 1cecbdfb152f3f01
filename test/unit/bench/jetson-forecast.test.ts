import { describe, expect, test } from 'vitest';
import {
  BOARDS,
  decoderLaunches,
  EFFICIENCY,
  forecastBoard,
  forecastLines,
  pictureLaunches,
  secondsOf,
} from '../../bench/jetson-forecast.js';

const bytes = (launches: ReturnType<typeof decoderLaunches>) =>
  launches.reduce((sum, launch) => sum + launch.count * launch.bytes, 0);
const operations = (launches: ReturnType<typeof decoderLaunches>) =>
  launches.reduce((sum, launch) => sum + launch.count * launch.operations, 0);

describe('what is counted', () => {
  test('a token reads 4.46 GB of int4 layers, the head and both caches', () => {
    const launches = decoderLaunches(1, 0, 0);
    const int4 = launches.filter(({ kind }) => kind === 'int4');
    expect(bytes(int4) / 1e9).toBeCloseTo(4.46, 1);
    expect(launches.find(({ name }) => name === 'head')!.bytes).toBe(4096 * 128_256 * 2);
    // 32 layers keep 4 KB of keys and values a token each.
    expect(bytes(decoderLaunches(1, 1000, 0)) - bytes(launches)).toBe(32 * 4096 * 1000);
  });

  test('four tiles are 18.6 TFLOP in the tower', () => {
    const tower = pictureLaunches(4).filter(({ name }) => name === 'products' || name === 'attention');
    expect(operations(tower) / 1e12).toBeCloseTo(18.6, 0);
    expect(operations(pictureLaunches(1))).toBeLessThan(operations(pictureLaunches(4)) / 2);
  });
});

test('a launch takes what memory or arithmetic take, and its start', () => {
  const board = { name: 'x', gigabytesPerSecond: 100, teraflops: 10 };
  const launch = { name: 'x', kind: 'int4', count: 2, bytes: 8.5e8, operations: 1 } as const;
  expect(secondsOf(launch, board)).toBeCloseTo(2 * (0.01 + EFFICIENCY.launchSeconds), 9);
  expect(secondsOf({ ...launch, bytes: 0, operations: 5e12 }, board)).toBeCloseTo(
    2 * (1 + EFFICIENCY.launchSeconds),
    9,
  );
});

test.each(Object.values(BOARDS))('$name: a forecast that memory bandwidth bounds', (board) => {
  const { tokensPerSecond, batch4Speedup, firstTokenSeconds } = forecastBoard(board);
  expect(tokensPerSecond).toBeLessThan((board.gigabytesPerSecond * 1e9) / bytes(decoderLaunches(1, 2048, 6404)));
  expect(batch4Speedup).toBeGreaterThan(1);
  expect(batch4Speedup).toBeLessThan(4);
  expect(firstTokenSeconds[3]!.seconds).toBeGreaterThan(firstTokenSeconds[0]!.seconds);
  expect(forecastLines(board)[0]).toContain('not measured');
});
