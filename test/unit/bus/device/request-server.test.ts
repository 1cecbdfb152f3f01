import { describe, expect, test } from 'vitest';
import { decodeRequest } from '#sdk/bus/contract/decoding.js';
import { busTopics } from '#sdk/bus/contract/topics.js';
import { ClientLimits } from '#sdk/bus/device/client-limits.js';
import { type Reply, RequestServer, type RequestServerOptions } from '#sdk/bus/device/request-server.js';
import { peekTransaction } from '#sdk/bus/device/routes.js';
import type { VerbContext, VerbHandler } from '#sdk/bus/device/verb-results.js';
import { SdkError } from '#sdk/core/errors.js';
import { observation } from '../../../support/observations.js';

const topics = busTopics('scenebus', 'dev');

const UNIX_MS = 1_700_000_000_000;

interface SetUp {
  readonly handler?: VerbHandler<'ask'>;
  readonly options?: Partial<RequestServerOptions>;
}

function setUp({ handler = async () => observation(), options = {} }: SetUp = {}) {
  const replies: Reply[] = [];
  const logs: string[] = [];
  const contexts: VerbContext[] = [];
  let nowMs = 0;
  const server = new RequestServer({
    topics,
    responseTopics: ['scenebus/#'],
    defaultTimeoutMs: 60_000,
    clientLimits: { requestsPerSecond: 20, burst: 40, unanswered: 4 },
    maxUnanswered: 8,
    reply: async (reply) => replies.push(reply),
    logger: { log: (_level, message) => logs.push(message) },
    now: () => UNIX_MS + nowMs,
    monotonicNow: () => nowMs,
    ...options,
  });
  let handled = 0;
  server.handle('ask', async (request, context) => {
    handled += 1;
    contexts.push(context);
    return handler(request, context);
  });
  const receive = (payload: unknown, extra: object = {}) =>
    server.receive({
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
    contexts,
    receive,
    handled: () => handled,
    passTime: (ms: number) => {
      nowMs += ms;
    },
  };
}
function errorsOf(replies: readonly Reply[]): SdkError[] {
  return replies.flatMap((reply) => ('error' in reply ? [reply.error] : []));
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('RequestServer', () => {
  test('runs a request that the broker sends twice only once', async () => {
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
    await settled();
    expect(replies).toHaveLength(3);
  });

  test('takes the earlier of message expiry and timeoutMs as the deadline', async () => {
    const { receive, contexts } = setUp();
    receive({ question: 'q' });
    receive({ question: 'q', timeoutMs: 5_000 });
    receive({ question: 'q', timeoutMs: 5_000 }, { properties: { messageExpiryInterval: 2 } });
    receive({ question: 'q', deadlineMs: UNIX_MS + 1_500 }, { properties: { messageExpiryInterval: 2 } });
    await settled();
    receive({ question: 'q' }, { properties: { messageExpiryInterval: 4_000_000_000 } });
    await settled();
    expect(contexts.map(({ deadlineMs }) => deadlineMs - UNIX_MS)).toEqual([60_000, 5_000, 2_000, 1_500, 600_000]);
  });

  test('lets the MQTT 5 response topic win over the one in the body', async () => {
    const { receive, replies } = setUp();
    receive({ question: 'q', responseTopic: 'scenebus/body' }, { properties: { responseTopic: 'scenebus/property' } });
    receive({ question: 'q', responseTopic: 'scenebus/body' });
    await settled();
    expect(replies.map(({ route }) => route.topic)).toEqual(['scenebus/property', 'scenebus/body']);
  });

  test('logs a burst of refusals once, and counts all', () => {
    const { receive, logs, server, replies, passTime } = setUp();
    for (let n = 0; n < 100; n += 1) receive(Buffer.from('junk'));
    expect(logs).toHaveLength(1);
    expect(server.counters.refused).toBe(100);
    expect(replies).toHaveLength(100);
    passTime(10_000);
    receive(Buffer.from('junk'));
    expect(logs).toHaveLength(2);
  });

  test('answers or ignores any bytes, and never throws', async () => {
    const { receive, server } = setUp({
      options: {
        clientLimits: { requestsPerSecond: 10_000, burst: 10_000, unanswered: 10_000 },
        maxUnanswered: 10_000,
      },
    });
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48_271) % 0x7fff_ffff;
      return seed % below;
    };
    for (let round = 0; round < 2_000; round += 1) {
      const valid = Buffer.from(JSON.stringify({ question: 'Where?', transaction: `t${round}`, timeoutMs: 1000 }));
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

describe('duplicate requests', () => {
  test('are answered once while the first is being answered, and for ten seconds afterwards', async () => {
    const release: (() => void)[] = [];
    const handler = async () => {
      await new Promise<void>((resolve) => release.push(resolve));
      return observation();
    };
    const { receive, replies, server, passTime, handled } = setUp({ handler });
    const again = () => receive({ question: 'q', transaction: 't' });
    again();
    again();
    passTime(60_000);
    again();
    expect(handled()).toBe(1);
    for (const go of release) go();
    await settled();
    passTime(9_999);
    again();
    await settled();
    expect(replies).toHaveLength(1);
    expect(server.counters).toMatchObject({ duplicate: 3, answered: 1 });
    // A script that always sends the same is no repetition after that.
    passTime(1);
    again();
    expect(handled()).toBe(2);
  });

  test('are other requests when the payload, the way back or the transaction is another, or none marks them', async () => {
    const { receive, server, handled } = setUp({ options: { clientLimits: { unanswered: 100 }, maxUnanswered: 100 } });
    receive({ question: 'q', transaction: 't' });
    receive({ question: 'another', transaction: 't' });
    receive({ question: 'q', transaction: 'u' });
    receive({ question: 'q', transaction: 't' }, { properties: { responseTopic: 'scenebus/me' } });
    receive({ question: 'q' });
    receive({ question: 'q' });
    await settled();
    expect(handled()).toBe(6);
    expect(server.counters.duplicate).toBe(0);
  });
});

describe('deadlines', () => {
  test('that are over are refused without asking anybody', async () => {
    const { receive, replies, handled, server } = setUp();
    receive({ question: 'q', deadlineMs: UNIX_MS - 1 });
    await settled();
    expect(handled()).toBe(0);
    expect(errorsOf(replies)).toEqual([expect.objectContaining({ code: 'ERR_REQUEST_EXPIRED' })]);
    expect(server.counters).toMatchObject({ expired: 1, received: 1 });
  });
});

describe('limits for each caller', () => {
  test('turn away 160 of 200 rapid questions with a hint when to come back, and none of another caller', async () => {
    const { receive, replies, handled, passTime, contexts } = setUp({
      options: { clientLimits: { requestsPerSecond: 20, burst: 40, unanswered: 1000 }, maxUnanswered: 1000 },
    });
    for (let n = 0; n < 200; n += 1) receive({ question: 'q', responseTopic: 'scenebus/client/greedy/response' });
    receive({ question: 'q', responseTopic: 'scenebus/client/modest/response' });
    await settled();
    expect(handled()).toBe(41);
    expect(contexts.at(-1)?.client).toBe('scenebus/client/modest/response');
    const errors = errorsOf(replies);
    expect(errors).toHaveLength(160);
    expect(errors[0]).toMatchObject({ code: 'ERR_BUSY', details: { retryAfterMs: 50 } });
    passTime(50);
    receive({ question: 'q', responseTopic: 'scenebus/client/greedy/response' });
    expect(handled()).toBe(42);
  });

  test('bound what one caller, and what all together, have waiting', async () => {
    const never = () => new Promise<never>(() => {});
    const { receive, replies, handled, server } = setUp({ handler: never });
    for (const client of ['a', 'b', 'c']) {
      for (let n = 0; n < 6; n += 1) receive({ question: 'q', responseTopic: `scenebus/client/${client}/response` });
    }
    await settled();
    expect(handled()).toBe(8);
    expect(server.active).toBe(8);
    expect(errorsOf(replies)).toHaveLength(10);
    for (const error of errorsOf(replies)) expect(error).toMatchObject({ code: 'ERR_BUSY', retryable: true });
  });

  test('remember callers in bounded memory, and names like __proto__ are names', () => {
    const limits = new ClientLimits({ burst: 1, requestsPerSecond: 1 }, 1e9, () => 0);
    for (const name of ['__proto__', 'constructor', 'toString']) {
      limits.take(name)();
      expect(() => limits.take(name)).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }));
    }
    for (let n = 0; n < 5000; n += 1) limits.take(`caller ${n}`)();
    // Forgotten long ago.
    limits.take('__proto__')();
    expect(limits.unanswered).toBe(0);
  });
});

describe('verbs', () => {
  const send = (server: RequestServer, verb: string, body: object = {}) =>
    server.receive({
      topic: `scenebus/dev/request/${verb}`,
      payload: Buffer.from(JSON.stringify(body)),
      retain: false,
      duplicate: false,
      properties: {},
    });

  test('without a handler are refused by name, and made-up ones too', async () => {
    const { server, replies } = setUp();
    send(server, 'snapshot');
    for (const verb of ['dance', 'constructor', '__proto__', 'watch', 'toString', 'watch/constructor'])
      send(server, verb);
    await settled();
    expect(errorsOf(replies).map(({ code }) => code)).toEqual([
      'ERR_REQUEST_UNSUPPORTED',
      ...Array(6).fill('ERR_REQUEST_INVALID'),
    ]);
    expect(errorsOf(replies)[0]?.message).toMatch(/snapshot.*only ask/);
  });

  test('with a handler are answered with what their schema says, and are busy once it is gone', async () => {
    const { server, replies } = setUp();
    const watch = { id: 'door', question: 'Is the door open?', answerType: 'yes-no' } as const;
    const remove = server.handle('watch/add', async (request) => ({
      watch: { watch: request.watch, origin: 'bus', cameras: [] },
    }));
    expect(server.verbs).toEqual(['ask', 'watch/add']);
    send(server, 'watch/add', { watch });
    send(server, 'watch/add', { watch: { ...watch, id: '../x' } });
    await settled();
    expect(replies.map((reply) => ('fields' in reply ? reply.fields : reply))).toEqual([
      expect.objectContaining({ error: expect.objectContaining({ code: 'ERR_REQUEST_INVALID' }) }),
      { data: { watch: { watch, origin: 'bus', cameras: [] } } },
    ]);
    remove();
    send(server, 'watch/add', { watch });
    await settled();
    expect(errorsOf(replies).at(-1)).toMatchObject({ code: 'ERR_BUSY' });
  });

  test('give a handler’s hint when to ask again to the caller', async () => {
    const handler = async () => {
      throw new SdkError('ERR_BUSY', 'Eight questions wait.', { details: { retryAfterMs: 1234 } });
    };
    const { receive, replies, server } = setUp({ handler });
    receive({ question: 'q' });
    await settled();
    expect(errorsOf(replies)[0]).toMatchObject({ code: 'ERR_BUSY', details: { retryAfterMs: 1234 } });
    expect(server.counters).toMatchObject({ busy: 1, failed: 0 });
  });

  test('stream pieces only to who asked for them, in order, joined while the link is slow', async () => {
    const acknowledge: (() => void)[] = [];
    const sent: Reply[] = [];
    const { receive } = setUp({
      handler: async (_request, { partial }) => {
        for (const word of ['A ', 'red ', 'cup']) partial?.(word);
        await settled();
        acknowledge[0]?.();
        await settled();
        acknowledge[1]?.();
        await settled();
        return observation('A red cup');
      },
      options: {
        reply: (reply) => {
          sent.push(reply);
          return new Promise<void>((resolve) => acknowledge.push(resolve));
        },
      },
    });
    receive({ question: 'q', stream: true });
    for (let n = 0; n < 5; n += 1) await settled();
    expect(sent.map((reply) => ('partial' in reply ? reply.partial : Object.keys(reply).includes('fields')))).toEqual([
      { index: 0, text: 'A ' },
      { index: 1, text: 'red cup' },
      true,
    ]);
    sent.length = 0;
    receive({ question: 'q' });
    for (let n = 0; n < 5; n += 1) await settled();
    expect(sent).toHaveLength(1);
  });
});

describe('peekTransaction', () => {
  test('finds a transaction at either end of a payload, and nothing else', () => {
    const filler = 'x'.repeat(100_000);
    expect(peekTransaction(Buffer.from(`{"transaction" : "a1","question":"${filler}"}`))).toBe('a1');
    expect(peekTransaction(Buffer.from(`{"question":"${filler}","transaction":"a2"}`))).toBe('a2');
    expect(peekTransaction(Buffer.from(`{"question":"${filler}"}`))).toBeUndefined();
    expect(peekTransaction(Buffer.from(`{"transaction":"${filler}"}`))).toBeUndefined();
    expect(peekTransaction(Buffer.alloc(0))).toBeUndefined();
  });
});

describe('decodeRequest', () => {
  test('keeps a byte order mark out of the JSON and refuses half characters', () => {
    expect(decodeRequest(Buffer.from('\ufeff{"a":1}'))).toEqual({ ok: true, value: { a: 1 } });
    expect(decodeRequest(Buffer.from('"é"').subarray(0, 2))).toMatchObject({ ok: false });
  });
});
