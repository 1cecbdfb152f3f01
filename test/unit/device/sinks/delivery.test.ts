import { SdkError, silentLogger } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { Outlet, type PendingEvent } from '#device/journal/outlet.js';
import type { EventRecord } from '#device/journal/record.js';
import { Delivery } from '#device/sinks/delivery.js';

function record(number: number): EventRecord {
  return { id: `r-${number}`, kind: 'answer', atMs: 0, camera: null, frame: null, text: null, body: '{}' };
}

/** A connection whose acknowledgements a test gives or takes. */
function open({ window = 4, maxPerSecond = 1_000, count = 0 } = {}) {
  const clock = { nowMs: 0 };
  const outlet = new Outlet({
    sink: 'test',
    kinds: ['answer'],
    limits: { maxEvents: 1_000, maxBytes: 1e9, maxAgeMs: 1e9 },
    monotonicMs: () => clock.nowMs,
    onProgress: () => {},
  });
  for (let number = 1; number <= count; number++) outlet.add(record(number));
  const link = { isConnected: true };
  const sent: { readonly id: string; readonly repeated: boolean; ack: (error?: SdkError) => void }[] = [];
  const delivery = new Delivery({
    outlet,
    window,
    maxPerSecond,
    logger: silentLogger,
    isConnected: () => link.isConnected,
    monotonicMs: () => clock.nowMs,
    send: ({ record: { id }, mayBeRepeated }: PendingEvent) =>
      new Promise<void>((resolve, reject) => {
        sent.push({ id, repeated: mayBeRepeated, ack: (error) => (error ? reject(error) : resolve()) });
      }),
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return { outlet, delivery, sent, link, clock, turn, ids: () => sent.map(({ id }) => id.slice(2)).join(' ') };
}
const lost = new SdkError('ERR_BUS_UNREACHABLE', 'gone');

describe('delivery', () => {
  test('keeps few events on their way, in order, and goes on with each acknowledgement', async () => {
    const { sent, ids, turn, outlet } = open({ count: 6 });
    expect(ids()).toBe('1 2 3 4');
    sent[0]!.ack();
    await turn();
    expect(ids()).toBe('1 2 3 4 5');
    for (const { ack } of sent) ack();
    await turn();
    expect(ids()).toBe('1 2 3 4 5 6');
    sent[5]!.ack();
    await turn();
    expect(outlet.length).toBe(0);
    outlet.add(record(7)); // what comes is sent at once
    expect(ids()).toBe('1 2 3 4 5 6 7');
  });

  test('sends again from the first that was not acknowledged, marked, when all of them are back', async () => {
    const { sent, ids, turn, delivery, link } = open({ count: 6 });
    sent[0]!.ack();
    sent[1]!.ack(lost);
    link.isConnected = false;
    await turn();
    expect(ids()).toBe('1 2 3 4'); // nothing while the others are under way
    sent[2]!.ack(lost);
    sent[3]!.ack(); // acknowledged although an earlier one was lost
    await turn();
    delivery.pump();
    expect(ids()).toBe('1 2 3 4');
    link.isConnected = true;
    delivery.pump();
    expect(sent.slice(4).map(({ id, repeated }) => [id, repeated])).toEqual([
      ['r-2', true],
      ['r-3', true],
      ['r-5', false],
      ['r-6', false],
    ]);
  });

  test('passes over what the other side will never take', async () => {
    const { sent, turn, outlet, ids } = open({ count: 2, window: 1 });
    sent[0]!.ack(new SdkError('ERR_BUS_REJECTED', 'not allowed'));
    await turn();
    expect(ids()).toBe('1 2');
    expect(outlet.counters).toMatchObject({ refused: 1, delivered: 0 });
  });

  test('spreads what waited over time', async () => {
    const { sent, clock, turn, delivery } = open({ count: 50, window: 100, maxPerSecond: 10 });
    expect(sent).toHaveLength(10);
    delivery.pump();
    expect(sent).toHaveLength(10);
    clock.nowMs = 500;
    delivery.pump();
    expect(sent).toHaveLength(15);
    clock.nowMs = 60_000; // a long pause earns no flood
    delivery.pump();
    expect(sent).toHaveLength(25);
    await turn();
  });

  test('takes nothing more when it has ended', async () => {
    const { sent, turn, delivery, outlet } = open({ count: 6 });
    await delivery[Symbol.asyncDispose]();
    sent[0]!.ack();
    await turn();
    expect(sent).toHaveLength(4);
    expect(outlet.length).toBe(5);
  });
});
