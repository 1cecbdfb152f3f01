/** What the evaluation prints. */
import { MEASURES, type Measure, type MeasureTable } from './scores.js';

/** What the demo model is trained to reach with int4 weights. */
export const TARGETS: MeasureTable = {
  exists: 0.985,
  colour: 0.99,
  count: 0.985,
  countOf: 0.93,
  leftRight: 0.97,
  lampOn: 0.98,
  signExact: 0.95,
  'locate@0.5': 0.985,
  locateMeanIoU: 0.9,
  'listF1@0.5': 0.97,
  captionF1: 0.98,
  absentSaid: 0.975,
};

export interface Column {
  readonly title: string;
  readonly table: MeasureTable;
}

/** A row for each measure, a column for each run; `counts` is what a measure rests on. */
export function renderTable(columns: readonly Column[], counts: Readonly<Record<Measure, number>>): string {
  const header = ['measure', 'target', ...columns.map(({ title }) => title), 'asked'];
  const rows = MEASURES.map((measure) => [
    measure,
    TARGETS[measure].toFixed(3),
    ...columns.map(({ table }) => (Number.isNaN(table[measure]) ? '-' : table[measure].toFixed(3))),
    String(counts[measure]),
  ]);
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  return [line(header), ...rows.map(line)].join('\n');
}

/** Four decimals; a measure that was never asked is null, for JSON has no NaN. */
export function jsonTable(table: MeasureTable): Record<Measure, number | null> {
  const entries = MEASURES.map((measure) => {
    const value = table[measure];
    return [measure, Number.isNaN(value) ? null : Math.round(value * 1e4) / 1e4] as const;
  });
  return Object.fromEntries(entries) as Record<Measure, number | null>;
}
