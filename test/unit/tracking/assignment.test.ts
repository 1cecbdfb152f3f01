import { describe, expect, test } from 'vitest';
import { createRandom } from '#sdk/core/random.js';
import { assign } from '#sdk/tracking/assignment.js';

/** Every way of pairing, tried: most pairs first, then least cost. */
function bestByTrying(costs: readonly (readonly number[])[]): { pairs: number; cost: number } {
  let best = { pairs: 0, cost: 0 };
  const visit = (row: number, used: ReadonlySet<number>, pairs: number, cost: number) => {
    if (row === costs.length) {
      if (pairs > best.pairs || (pairs === best.pairs && cost < best.cost)) best = { pairs, cost };
      return;
    }
    visit(row + 1, used, pairs, cost);
    for (const [column, value] of costs[row]!.entries())
      if (Number.isFinite(value) && !used.has(column))
        visit(row + 1, new Set([...used, column]), pairs + 1, cost + value);
  };
  visit(0, new Set(), 0, 0);
  return best;
}

describe('assign', () => {
  test('finds what trying every pairing finds', () => {
    const random = createRandom(5);
    for (let round = 0; round < 400; round++) {
      const [rows, columns] = [1 + Math.floor(random() * 5), 1 + Math.floor(random() * 5)];
      const costs = Array.from({ length: rows }, () =>
        Array.from({ length: columns }, () => (random() < 0.3 ? Number.POSITIVE_INFINITY : random() * 2)),
      );
      const found = assign(costs);
      const pairs = found.flatMap((column, row) => (column < 0 ? [] : [costs[row]![column]!]));
      const taken = found.filter((column) => column >= 0);
      expect(new Set(taken).size).toBe(taken.length);
      const best = bestByTrying(costs);
      expect(pairs.length).toBe(best.pairs);
      expect(pairs.reduce((sum, cost) => sum + cost, 0)).toBeCloseTo(best.cost, 9);
    }
  });

  test('pairs nothing with nothing', () => {
    expect(assign([])).toEqual([]);
    expect(assign([[], []])).toEqual([-1, -1]);
    expect(assign([[Number.POSITIVE_INFINITY]])).toEqual([-1]);
  });
});
