import { describe, expect, test } from 'vitest';
import { type Claim, PickOrder } from '#sdk/inference/pick-order.js';
import type { Priority } from '#sdk/inference/priority.js';

let arrivals = 0;
const claim = (caller: string, priority: Priority = 'question', deadlineAtMs?: number) => ({
  caller,
  priority,
  deadlineAtMs,
  arrival: arrivals++,
});
const names = (claims: readonly Claim[]) => claims.map(({ caller }) => caller).join(' ');

describe('PickOrder', () => {
  test('puts urgent questions before others before watches before descriptions, whoever came first', () => {
    const claims = [claim('d', 'description'), claim('w', 'watch'), claim('q'), claim('u', 'urgent')];
    expect(names(new PickOrder().sort(claims))).toBe('u q w d');
  });

  test("takes callers in turn, everybody's first before anybody's second", () => {
    const order = new PickOrder();
    const claims = [claim('a'), claim('a'), claim('a'), claim('b'), claim('c')];
    expect(names(order.sort(claims))).toBe('a b c a a');
    order.serve(claims[0]!);
    expect(names(order.sort(claims))).toBe('b c a a a');
    order.serve(claims[3]!);
    expect(names(order.sort(claims))).toBe('c a b a a');
    // Who is new does not stand behind the one that was just served, nor before those that have waited longer.
    expect(names(order.sort([...claims, claim('new')]))).toBe('c a new b a a');
  });

  test('lets nobody starve behind 200 requests of another', () => {
    const order = new PickOrder();
    const claims = [...Array.from({ length: 200 }, () => claim('greedy')), claim('modest')];
    const served = { greedy: 0, modest: 0 };
    for (let step = 0; step < 100; step++) {
      const first = order.sort(claims)[0]!;
      served[first.caller as 'greedy' | 'modest']++;
      order.serve(first);
    }
    expect(served).toEqual({ greedy: 50, modest: 50 });
  });

  test('orders the requests of one caller by deadline, but no deadline overtakes another caller', () => {
    const claims = [claim('a'), claim('a', 'question', 900), claim('b'), claim('a', 'question', 500)];
    const sorted = new PickOrder().sort(claims);
    expect(sorted.map(({ caller, deadlineAtMs }) => [caller, deadlineAtMs])).toEqual([
      ['a', 500],
      ['b', undefined],
      ['a', 900],
      ['a', undefined],
    ]);
  });

  test('owes a lower priority a tenth of the time, in pieces that are worth it', () => {
    const order = new PickOrder();
    const claims = [claim('q'), claim('d', 'description')];
    const spentMs = { urgent: 0, question: 0, watch: 0, description: 0 };
    for (let step = 0; step < 10_000; step++) {
      const first = order.sort(claims)[0]!;
      const elapsedMs = first.priority === 'question' ? 20 : 300;
      if (first.priority === 'description') expect(spentMs.question).toBeGreaterThanOrEqual(900);
      spentMs[first.priority] += elapsedMs;
      order.spend(first, elapsedMs, claims);
    }
    const share = spentMs.description / (spentMs.description + spentMs.question);
    expect(share).toBeGreaterThan(0.095);
    expect(share).toBeLessThan(0.105);
  });

  test('lets a flood of urgent ones silence neither questions nor what is below them', () => {
    const order = new PickOrder();
    const claims = [
      ...Array.from({ length: 50 }, () => claim('flood', 'urgent')),
      claim('q'),
      claim('w', 'watch'),
      claim('d', 'description'),
    ];
    const spentMs = { urgent: 0, question: 0, watch: 0, description: 0 };
    for (let step = 0; step < 10_000; step++) {
      const first = order.sort(claims)[0]!;
      spentMs[first.priority] += 20;
      order.spend(first, 20, claims);
      order.serve(first);
    }
    const all = 20 * 10_000;
    for (const priority of ['question', 'watch', 'description'] as const)
      expect(spentMs[priority] / all, priority).toBeGreaterThan(0.07);
    expect(spentMs.urgent / all).toBeGreaterThan(0.6);
  });

  test('owes nothing to who was not there', () => {
    const order = new PickOrder();
    const question = claim('q');
    for (let step = 0; step < 100; step++) order.spend(question, 1000, [question]);
    expect(names(order.sort([question, claim('d', 'description')]))).toBe('q d');
  });
});
