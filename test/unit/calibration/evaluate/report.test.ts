import { describe, expect, test } from 'vitest';
import { jsonTable, renderTable, TARGETS } from '#calibration/evaluate/report.js';
import { Scores } from '#calibration/evaluate/scores.js';

describe('the evaluation report', () => {
  test('aligns measures, targets and runs', () => {
    const columns = [
      { title: 'float', table: TARGETS },
      { title: 'int4', table: { ...TARGETS, exists: Number.NaN, colour: 1 } },
    ];
    const lines = renderTable(columns, { ...new Scores().counts(), exists: 1000 }).split('\n');
    expect(new Set(lines.map((line) => line.length)).size).toBe(1);
    expect(lines[0]!.split(/\s+/)).toEqual(['measure', 'target', 'float', 'int4', 'asked']);
    expect(lines[1]!.split(/\s+/)).toEqual(['exists', '0.985', '0.985', '-', '1000']);
    expect(lines[2]!.split(/\s+/)).toEqual(['colour', '0.990', '0.990', '1.000', '0']);
  });

  test('is valid JSON for measures never asked', () => {
    expect(JSON.parse(JSON.stringify(jsonTable({ ...TARGETS, exists: Number.NaN, colour: 1 / 3 })))).toMatchObject({
      exists: null,
      colour: 0.3333,
      'locate@0.5': 0.985,
    });
  });
});
