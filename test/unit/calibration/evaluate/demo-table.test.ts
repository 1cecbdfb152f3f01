/** The README's table of the demo model is the one of the model that is there, in the form that the command writes. */
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { TaskName } from '#calibration/evaluate/task-names.js';
import { TASKS } from '#calibration/evaluate/tasks.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';

const readme = await readFile('README.md', 'utf8');
const [, table = ''] = /<!-- npm run demo:compare -->\n([\s\S]*)<!-- end of demo:compare -->/.exec(readme) ?? [];
const rows = table
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.slice(2, -2).split(' | '));

test('is of the demo model as it is now; else: npm run demo:compare -- --write README.md', async () => {
  const [, hash] = /Demo model `([0-9a-f]{12})`/.exec(table) ?? [];
  const checkpoint = await openCheckpoint('examples/demo-model/checkpoint');
  expect((await checkpoint.identity()).slice(0, 12)).toBe(hash);
});

test('has measures of tasks with the number of items, and differences with intervals', () => {
  const [head, ...body] = rows;
  expect(head).toEqual([expect.stringMatching(/^measure \(items of \d+ scenes\)$/), 'float', ...head!.slice(2)]);
  expect(head!.slice(2)).toEqual(['int4 rtn', 'int4 awq', 'boxes by attention']);
  expect(body.length).toBeGreaterThan(10);
  for (const [name, float, ...others] of body) {
    const [, task, measure, items] = /^(\S+) (\S+) \((\d+)\)$/.exec(name!)!;
    const names = TASKS[task as TaskName].measures([], []).map((each) => each.name);
    expect(names).toContain(measure);
    expect(Number(items)).toBeGreaterThan(20);
    expect(float).toMatch(/^\d+\.\d{3}$/);
    for (const cell of others) {
      if (cell.trim() === '') continue;
      const numbers = cell
        .replaceAll('**', '')
        .replaceAll('−', '-')
        .match(/[+-]?\d+\.\d{3}/g)!
        .map(Number);
      const [value, difference, low, high] = numbers as [number, number, number, number];
      expect(numbers).toHaveLength(4);
      expect(value - Number(float)).toBeCloseTo(difference, 2);
      expect(low).toBeLessThanOrEqual(difference);
      expect(high).toBeGreaterThanOrEqual(difference);
    }
  }
});
