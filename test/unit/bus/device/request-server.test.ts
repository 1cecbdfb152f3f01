import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { decodeRequest } from '#sdk/bus/contract/decoding.js';
import { busTopics } from '#sdk/bus/contract/topics.js';
import { type Reply, RequestServer } from '#sdk/bus/device/request-server.js';
import { peekTransaction } from '#sdk/bus/device/routes.js';

const topics = busTopics('scenebus', 'dev');

function setUp() {
  const replies: Reply[] = [];
  const logs: string[] = [];
  let nowMs = 0;
  const server = new RequestServer({
    topics,
    responseTopics: ['scenebus/#'],
    defaultTimeoutMs: 60_000,
    maxActive: 4,
    reply: (reply) => replies.push(reply),
    logger: { log: (_level, message) => logs.push(message) },
    now: () => nowMs,
  });
  let handled = 0;
  server.register('ask', {
    schema: z.strictObject({
      question: z.string(),
      transaction: z.string().optional(),
      responseTopic: z.string().optional(),
      timeoutMs: z.number().optional(),
    }),
    handler: async (_request: { timeoutMs?: number | undefined }, context) => {
      handled += 1;
      return context.deadlineMs;
    },
  });
  const receive = (payload: unknown, extra: object = {}) =>
    server.handle({
      topic: topics.request('ask'),
      payload: Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload)),
      retain: false,
      duplicate: false,
      properties: {},
      ...extra,
    });
  return {
    server,
    replies,
    logs,
    receive,
    handled: () => handled,
    passTime: (ms: number) => {
      nowMs += ms;
    },
  };
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('RequestServer', () => {
  it('runs a request that the broker sends twice only once', async () => {
    const { receive, replies, server } = setUp();
    const marked = { properties: { correlationData: Buffer.from('c1') } };
    receive({ question: 'q' }, marked);
    receive({ question: 'q' }, { ...marked, duplicate: true });
    receive({ question: 'q', transaction: 't' });
    receive({ question: 'q', transaction: 't' }, { duplicate: true });
    await settled();
    expect(replies).toHaveLength(2);
    expect(server.counters.duplicate).toBe(2);
    // A first delivery that never arrived: the second is marked as well, and is the first here.
    receive({ question: 'q', transaction: 'new' }, { duplicate: true });
    // The same caller asks again on purpose: not marked.
    receive({ question: 'q', transaction: 't' });
    await settled();
    expect(replies).toHaveLength(4);
  });

  it('takes the earlier of message expiry and timeoutMs as the deadline', async () => {
    const { receive, replies } = setUp();
    receive({ question: 'q' });
    receive({ question: 'q', timeoutMs: 5_000 });
    receive({ question: 'q', timeoutMs: 5_000 }, { properties: { messageExpiryInterval: 2 } });
    receive({ question: 'q' }, { properties: { messageExpiryInterval: 4_000_000_000 } });
    await settled();
    expect(replies.map((reply) => ('result' in reply ? reply.result : undefined))).toEqual([
      60_000, 5_000, 2_000, 600_000,
    ]);
  });

  it('lets the MQTT 5 response topic win over the one in the body', async () => {
    const { receive, replies } = setUp();
    receive({ question: 'q', responseTopic: 'scenebus/body' }, { properties: { responseTopic: 'scenebus/property' } });
    receive({ question: 'q', responseTopic: 'scenebus/body' });
    await settled();
    expect(replies.map(({ route }) => route.topic)).toEqual(['scenebus/property', 'scenebus/body']);
  });

  it('logs a burst of refusals once, and counts all', () => {
    const { receive, logs, server, replies, passTime } = setUp();
    for (let n = 0; n < 100; n += 1) receive(Buffer.from('junk'));
    expect(logs).toHaveLength(1);
    expect(server.counters.refused).toBe(100);
    expect(replies).toHaveLength(100);
    passTime(10_000);
    receive(Buffer.from('junk'));
    expect(logs).toHaveLength(2);
  });

  it('answers or ignores any bytes, and never throws', async () => {
    const { receive, server } = setUp();
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48_271) % 0x7fff_ffff;
      return seed % below;
    };
    const valid = Buffer.from(JSON.stringify({ question: 'Where?', transaction: 'abc', timeoutMs: 1000 }));
    for (let round = 0; round < 2_000; round += 1) {
      const payload = Buffer.from(random(2) === 0 ? valid : valid.subarray(0, random(valid.length + 1)));
      for (let flips = Math.max(0, random(6) - 2); flips > 0 && payload.length > 0; flips -= 1)
        payload[random(payload.length)] = random(256);
      const properties = {
        ...(random(4) === 0 ? { responseTopic: String.fromCharCode(random(300)).repeat(random(600)) } : {}),
        ...(random(2) === 0 ? { correlationData: Buffer.alloc(random(3_000)) } : {}),
        ...(random(2) === 0 ? { messageExpiryInterval: random(100) } : {}),
      };
      if (round % 4 === 0) await settled();
      receive(payload, {
        properties,
        retain: random(5) === 0,
        duplicate: random(5) === 0,
        topic: random(9) === 0 ? 'scenebus/dev/request/\u0001' : topics.request('ask'),
      });
    }
    await settled();
    const { received, answered, refused, busy, duplicate, failed, expired } = server.counters;
    expect(answered + refused + busy + duplicate + failed + expired).toBe(received);
    expect(refused).toBeGreaterThan(100);
    expect(answered).toBeGreaterThan(10);
  });
});

describe('peekTransaction', () => {
  it('finds a transaction at either end of a payload, and nothing else', () => {
    const filler = 'x'.repeat(100_000);
    expect(peekTransaction(Buffer.from(`{"transaction" : "a1","question":"${filler}"}`))).toBe('a1');
    expect(peekTransaction(Buffer.from(`{"question":"${filler}","transaction":"a2"}`))).toBe('a2');
    expect(peekTransaction(Buffer.from(`{"question":"${filler}"}`))).toBeUndefined();
    expect(peekTransaction(Buffer.from(`{"transaction":"${filler}"}`))).toBeUndefined();
    expect(peekTransaction(Buffer.alloc(0))).toBeUndefined();
  });
});

describe('decodeRequest', () => {
  it('keeps a byte order mark out of the JSON and refuses half characters', () => {
    expect(decodeRequest(Buffer.from('\ufeff{"a":1}'))).toEqual({ ok: true, value: { a: 1 } });
    expect(decodeRequest(Buffer.from('"é"').subarray(0, 2))).toMatchObject({ ok: false });
  });
});
