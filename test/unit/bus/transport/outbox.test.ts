import { describe, expect, test } from 'vitest';
import { Outbox, type OutboxMessage } from '#sdk/bus/transport/outbox.js';

class Lost extends Error {}

interface Sent {
  readonly message: OutboxMessage;
  acknowledge(): void;
  refuse(error: Error): void;
}

/** An outbox whose broker answers by hand. */
function setUp(options: { queueLength?: number; maxStates?: number } = {}) {
  const sent: Sent[] = [];
  const losses: string[] = [];
  const delivered: string[] = [];
  let nowMs = 1_000;
  const outbox = new Outbox({
    queueLength: options.queueLength ?? 4,
    maxStates: options.maxStates ?? 10,
    isLost: (error) => error instanceof Lost,
    onDelivered: (message) => delivered.push(message.payload),
    onLoss: (message, why) => losses.push(`${message.payload} ${why}`),
    now: () => nowMs,
  });
  const send = (message: OutboxMessage): Promise<void> =>
    new Promise((resolve, reject) => sent.push({ message, acknowledge: resolve, refuse: reject }));
  return {
    outbox,
    sent,
    losses,
    delivered,
    attach: (window = 2) => outbox.attach(send, window),
    payloads: () => sent.map(({ message }) => message.payload),
    passTime: (ms: number) => {
      nowMs += ms;
    },
  };
}

const state = (topic: string, payload: string, rank = 0, expiresAtMs?: number): OutboxMessage => ({
  topic,
  kind: 'state',
  rank,
  payload,
  value: payload,
  expiresAtMs,
  correlationData: undefined,
});
const event = (payload: string, expiresAtMs?: number): OutboxMessage => ({
  ...state('answers', payload, 9, expiresAtMs),
  kind: 'event',
});
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('Outbox', () => {
  test('lets refusals go before answers when there is no room', () => {
    const { outbox, attach, payloads, losses } = setUp({ queueLength: 3 });
    void outbox.push(event('answer 1'));
    for (const name of ['no 1', 'no 2', 'no 3']) outbox.push({ ...event(name), isExpendable: true }).catch(() => {});
    void outbox.push(event('answer 2'));
    expect(losses).toEqual(['no 1 queue-full', 'no 2 queue-full']);
    attach(9);
    expect(payloads()).toEqual(['answer 1', 'no 3', 'answer 2']);
  });

  test('keeps nothing of what its caller keeps: offline, in flight and waiting behind a slow broker', async () => {
    const { outbox, attach, payloads, sent } = setUp();
    const unkept = (payload: string) => outbox.push({ ...event(payload), isUnkept: true });
    const lost = { code: 'ERR_BUS_UNREACHABLE' };
    await expect(unkept('offline')).rejects.toMatchObject(lost);
    attach(1);
    const kept = outbox.push(event('kept'));
    const waiting = unkept('waiting');
    outbox.detach();
    await expect(waiting).rejects.toMatchObject(lost);
    expect(await kept).toBe('queued');
    attach(1);
    sent[1]?.acknowledge();
    await settled();
    const inFlight = unkept('in flight');
    outbox.detach();
    await expect(inFlight).rejects.toMatchObject(lost);
    attach(9);
    expect(payloads()).toEqual(['kept', 'kept', 'in flight']);
    expect(outbox.length).toBe(0);
  });

  test('resolves when the broker acknowledges, and keeps at most a window unacknowledged', async () => {
    const { outbox, sent, attach, payloads } = setUp();
    attach(2);
    const results = ['a', 'b', 'c'].map((payload) => outbox.push(event(payload)));
    expect(payloads()).toEqual(['a', 'b']);
    sent[0]?.acknowledge();
    expect(await results[0]).toBe('delivered');
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  test('keeps only the latest value of a state, offline and behind a slow broker', async () => {
    const { outbox, attach, payloads, sent } = setUp();
    expect(await outbox.push(state('scene', 'old'))).toBe('queued');
    expect(await outbox.push(state('scene', 'new'))).toBe('queued');
    attach(1);
    expect(payloads()).toEqual(['new']);
    const second = outbox.push(state('scene', 'second'));
    const third = outbox.push(state('scene', 'third'));
    expect(await second).toBe('superseded');
    sent[0]?.acknowledge();
    await settled();
    sent[1]?.acknowledge();
    expect(await third).toBe('delivered');
    expect(payloads()).toEqual(['new', 'third']);
    expect(outbox.counters.superseded).toBe(2);
  });

  test('sends after a reconnect every state by rank, then what was not acknowledged, in order', async () => {
    const { outbox, attach, payloads, sent } = setUp();
    attach(8);
    void outbox.push(state('scene', 'scene', 3));
    void outbox.push(state('info', 'info', 0));
    sent[0]?.acknowledge();
    sent[1]?.acknowledge();
    await settled();
    const first = outbox.push(event('answer 1'));
    void outbox.push(event('answer 2'));
    outbox.detach();
    expect(await first).toBe('queued');
    void outbox.push(event('answer 3'));
    sent.length = 0;
    attach(8);
    expect(payloads()).toEqual(['info', 'scene', 'answer 1', 'answer 2', 'answer 3']);
  });

  test('ignores an acknowledgement that fails because the connection closed: nothing is lost or sent twice', async () => {
    const { outbox, attach, payloads, sent, losses } = setUp();
    attach(1);
    const result = outbox.push(event('answer'));
    sent[0]?.refuse(new Lost());
    await settled();
    outbox.detach();
    expect(await result).toBe('queued');
    sent.length = 0;
    attach(1);
    expect(payloads()).toEqual(['answer']);
    expect(losses).toEqual([]);
  });

  test('drops the oldest answers when full, counts each and keeps the newest', async () => {
    const { outbox, attach, payloads, losses } = setUp({ queueLength: 3 });
    for (const payload of ['1', '2', '3', '4', '5']) expect(await outbox.push(event(payload))).toBe('queued');
    expect(outbox.length).toBe(3);
    expect(outbox.counters.droppedQueueFull).toBe(2);
    expect(losses).toEqual(['1 queue-full', '2 queue-full']);
    attach(9);
    expect(payloads()).toEqual(['3', '4', '5']);
  });

  test('sends nothing that became too old while the broker was away', async () => {
    const { outbox, attach, payloads, losses, passTime } = setUp();
    await outbox.push(state('scene', 'scene', 3, 2_000));
    await outbox.push(state('status', 'status', 2));
    await outbox.push(event('answer', 2_000));
    passTime(1_000);
    attach(9);
    expect(payloads()).toEqual(['status']);
    expect(losses).toEqual(['scene expired', 'answer expired']);
    expect(outbox.counters.droppedExpired).toBe(2);
  });

  test('tells the caller when the broker refuses, or reports the loss when the caller has gone', async () => {
    const { outbox, attach, sent, losses } = setUp();
    const early = await outbox.push(event('early'));
    expect(early).toBe('queued');
    attach(9);
    const late = outbox.push(event('late'));
    for (const { refuse } of sent) refuse(new Error('not authorised'));
    await expect(late).rejects.toThrow('not authorised');
    expect(losses).toEqual(['early refused']);
    expect(outbox.counters.refused).toBe(2);
  });

  test('bounds the number of state topics', async () => {
    const { outbox } = setUp({ maxStates: 2 });
    await outbox.push(state('a', '1'));
    await outbox.push(state('b', '1'));
    await expect(outbox.push(state('c', '1'))).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
    expect(await outbox.push(state('a', '2'))).toBe('queued');
    outbox.forget('b');
    expect(await outbox.push(state('c', '1'))).toBe('queued');
  });

  test('is idle when all is acknowledged, and at once when the connection goes', async () => {
    const { outbox, attach, sent } = setUp();
    await outbox.idle();
    attach(9);
    void outbox.push(event('a'));
    let isIdle = false;
    const idle = outbox.idle().then(() => {
      isIdle = true;
    });
    await settled();
    expect(isIdle).toBe(false);
    sent[0]?.acknowledge();
    await idle;
    void outbox.push(event('b'));
    const afterLoss = outbox.idle();
    outbox.detach();
    await afterLoss;
  });
});
