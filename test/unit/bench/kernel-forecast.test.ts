import { expect, test } from 'vitest';
import { BOARDS, EFFICIENCY } from '../../bench/jetson-forecast.js';
import {
  besideForecast,
  besideLines,
  boardOf,
  type KernelReport,
  kernelReportOf,
} from '../../bench/kernel-forecast.js';

const report: KernelReport = {
  device: 'a GPU',
  sm: 90,
  smCount: 132,
  results: [
    { name: 'device copy', ms: 1, gigabytesPerSecond: 1000 },
    { name: 'int4 4096 -> 14336, rows 1', ms: 0.05 },
    { name: 'int4 4096 -> 14336, rows 512', ms: 0.4, teraflops: 150 },
    { name: 'KV attention, context 4096, rows 1', ms: 0.03 },
    { name: 'cross-attention, keys 6404, rows 1', ms: 0.04 },
    { name: 'decoder step, rows 1, context 4096, keys 6404', ms: 7 },
  ],
};

test('the report is the last object that the harness printed', () => {
  const output = `a table\n{"device":"old"}\n${JSON.stringify(report)}\n\n`;
  expect(kernelReportOf(output)).toEqual(report);
  expect(kernelReportOf('3 tests failed\n')).toBeUndefined();
});

test('a board of the forecast is known by its GPU, another by the bandwidth of a copy', () => {
  expect(boardOf({ ...report, sm: 87, smCount: 16 })).toBe(BOARDS['agx-orin-64']);
  expect(boardOf({ ...report, sm: 87, smCount: 8 })).toBe(BOARDS['orin-nx-16']);
  expect(boardOf(report)).toMatchObject({ gigabytesPerSecond: 1000, teraflops: Number.POSITIVE_INFINITY });
});

test('a measurement stands beside its prediction, with the factor that it would put into the table', () => {
  const { lines } = besideForecast(report);
  expect(lines.map(({ name }) => name)).toEqual(report.results.slice(1).map(({ name }) => name));
  const [gemv, gemm, self, cross, step] = lines as [(typeof lines)[0], ...typeof lines];
  const bytes = 4096 * 14336 * (0.5 + 2 / 128) + (4096 + 14336) * 2;
  expect(gemv!.predictedMs).toBeCloseTo(1e3 * (bytes / 1e12 / EFFICIENCY.int4.memory + EFFICIENCY.launchSeconds), 9);
  expect(gemv!.factor!.measured).toBeCloseTo(bytes / (0.05e-3 - EFFICIENCY.launchSeconds) / 1e12, 9);
  expect(gemv!.factor).toMatchObject({ kind: 'int4.memory', assumed: EFFICIENCY.int4.memory });
  // Nothing is known of this GPU's arithmetic.
  expect(gemm).toMatchObject({ predictedMs: null, factor: null, measuredMs: 0.4 });
  expect(self!.factor!.kind).toBe('attention.memory');
  expect(cross!.predictedMs! / self!.predictedMs!).toBeGreaterThan(1.4);
  // 40 layers read 4.46 GB, the head in int4 as the harness has it 0.27 GB.
  expect(step!.predictedMs).toBeGreaterThan(5);
  expect(step!.predictedMs).toBeLessThan(9);
  expect(step!.factor).toBeNull();
});

test('what is measured as predicted gives the assumed factor again', () => {
  const onOrin: KernelReport = { ...report, sm: 87, smCount: 16 };
  const predicted = besideForecast(onOrin).lines;
  const results = predicted.map(({ name, predictedMs }) => ({ name, ms: predictedMs! }));
  for (const { factor } of besideForecast({ ...onOrin, results }).lines) {
    if (factor !== null) expect(factor.measured).toBeCloseTo(factor.assumed, 6);
  }
  expect(predicted.find(({ name }) => name.endsWith('rows 512'))!.factor!.kind).toBe('int4.compute');
  expect(besideLines(onOrin)[0]).toBe(
    'Measured beside predicted (jetson-forecast) on AGX Orin 64 GB, MAXN, 204.8 GB/s:',
  );
  expect(besideLines(onOrin)[2]).toMatch(/int4 4096 -> 14336, rows 512 +0\.4000 ms +\d+\.\d+ ms {2}int4\.compute/);
});
