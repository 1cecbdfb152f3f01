import { describe, expect, test } from 'vitest';
import { Outlet, type OutletLimits } from '#device/journal/outlet.js';
import type { EventRecord } from '#device/journal/record.js';

function record(number: number, pad = 0): EventRecord {
  const body = 'x'.repeat(pad);
  return { id: `r-${number}`, kind: 'answer', atMs: 0, camera: null, frame: null, text: null, body };
}

function open(limits: Partial<OutletLimits> = {}) {
  const clock = { nowMs: 0 };
  const progress: (number | undefined)[] = [];
  const outlet: Outlet = new Outlet({
    sink: 'test',
    kinds: ['answer'],
    limits: { maxEvents: 100, maxBytes: 1e9, maxAgeMs: 1_000, ...limits },
    monotonicMs: () => clock.nowMs,
    onProgress: () => progress.push(outlet.cursor),
  });
  return { outlet, clock, progress };
}
const taken = (outlet: Outlet, count: number) => Array.from({ length: count }, () => outlet.take()?.record.id);

describe('an outlet', () => {
  test('gives events in order, each once, and again in the same order after a lost connection, marked', () => {
    const { outlet } = open();
    const events = [1, 2, 3].map((number) => record(number));
    for (const event of events) outlet.add(event);
    outlet.add({ ...record(9), kind: 'status' }); // not for this sink
    expect(taken(outlet, 2)).toEqual(['r-1', 'r-2']);
    outlet.done(events[0]!);
    outlet.rewind();
    expect(outlet.take()).toMatchObject({ record: { id: 'r-2' }, mayBeRepeated: true });
    expect(outlet.take()).toMatchObject({ record: { id: 'r-3' }, mayBeRepeated: false });
    expect(outlet.take()).toBeUndefined();
    expect(outlet.length).toBe(2);
    expect(outlet.counters.delivered).toBe(1);
  });

  test('moves its cursor past what is done without a gap, and only to what is on the disk', () => {
    const { outlet, progress } = open();
    const events = [1, 2, 3].map((number) => record(number));
    for (const event of events) outlet.add(event);
    taken(outlet, 3);
    for (const [index, event] of events.entries()) if (index < 2) outlet.number(event, index + 11);
    outlet.done(events[1]!);
    expect(outlet.cursor).toBeUndefined();
    outlet.done(events[0]!);
    expect(outlet.cursor).toBe(12);
    outlet.done(events[2]!); // sent before it was written
    expect(outlet.cursor).toBeUndefined();
    outlet.number(events[2]!, 13);
    expect(outlet.cursor).toBe(13);
    expect(progress).toEqual([12, 13]);
  });

  test('goes on where an earlier run ended, marked, before what came meanwhile', () => {
    const { outlet } = open();
    const now = record(5);
    outlet.add(now);
    const earlier = [1, 2].map((number) => ({ ...record(number), seq: number }));
    outlet.restore(earlier, 500);
    outlet.restore(earlier.slice(0, 0), 500);
    expect(outlet.take()).toMatchObject({ record: { id: 'r-1' }, mayBeRepeated: true });
    expect(taken(outlet, 2)).toEqual(['r-2', 'r-5']);
    // Done first although it is the last: the cursor does not pass the others.
    outlet.number(now, 3);
    outlet.done(now);
    expect(outlet.cursor).toBeUndefined();
    outlet.done(earlier[0]!);
    expect(outlet.cursor).toBe(1);
  });

  test('is bounded by number and bytes: the oldest that is not on its way goes, and is counted', () => {
    const { outlet } = open({ maxEvents: 3 });
    outlet.add(record(1));
    expect(taken(outlet, 1)).toEqual(['r-1']);
    for (const number of [2, 3, 4, 5]) outlet.add(record(number));
    expect(taken(outlet, 3)).toEqual(['r-4', 'r-5', undefined]);
    expect(outlet.counters.droppedQueueFull).toBe(2);
    expect(outlet.length).toBe(3);
    for (let number = 6; number < 1_000; number++) outlet.add(record(number));
    expect(outlet.length).toBe(4); // all on their way, and the newest
    const small = open({ maxBytes: 1_000 }).outlet;
    for (const number of [1, 2, 3]) small.add(record(number, 300));
    expect(taken(small, 3)).toEqual(['r-2', 'r-3', undefined]);
    expect(small.bytes).toBe(1_000);
    small.add(record(4, 5_000)); // alone over the bound: it goes out all the same
    expect(taken(small, 1)).toEqual(['r-4']);
  });

  test('drops what became too old, by a clock that nobody sets', () => {
    const { outlet, clock } = open();
    outlet.add(record(1));
    clock.nowMs = 600;
    outlet.add(record(2));
    outlet.restore([{ ...record(0), seq: 1 }], 999); // one millisecond left
    clock.nowMs = 1_000;
    expect(taken(outlet, 2)).toEqual(['r-2', undefined]);
    expect(outlet.counters.droppedExpired).toBe(2);
  });

  test('wakes its sink for what comes', () => {
    const { outlet } = open();
    let woken = 0;
    outlet.onEvent(() => woken++);
    outlet.add(record(1));
    outlet.restore([{ ...record(0), seq: 1 }], 0);
    expect(woken).toBe(2);
  });
});
