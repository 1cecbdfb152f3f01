import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectBus, type KeptAnswer } from '#sdk/bus/index.js';
import { BROKERS, Listener, startProxy, type TestBroker, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

describe.each(BROKERS)('answers that the device keeps, against $name', ({ version, start }) => {
  let broker: TestBroker;
  beforeAll(async () => {
    broker = await start();
  });
  afterAll(async () => {
    await broker[Symbol.asyncDispose]();
  });
  const ask = async (asker: Listener, topic: string, question: string) => {
    const request = JSON.stringify({ question, transaction: question });
    await asker.client.publishAsync(topic, request, { qos: 1 });
  };

  test('go out when they are given back, by another run too, the same as they were and marked as repeated', async () => {
    const kept: KeptAnswer[] = [];
    const requests: object[] = [];
    const first = await connectBus({
      url: broker.url,
      device: 'keeper',
      protocolVersion: version,
      keepAnswer: (answer, request) => {
        kept.push(answer);
        requests.push(request);
        return true;
      },
    });
    first.onAsk(async ({ question }) => {
      if (question === 'fail') throw new Error('no');
      return observation(question);
    });
    await using asker = await Listener.open(broker, version, first.topics.response('ask'));
    await ask(asker, first.topics.request('ask'), 'one');
    await ask(asker, first.topics.request('ask'), 'fail');
    await asker.client.publishAsync(first.topics.request('ask'), 'no JSON', { qos: 1 });
    await asker.next(({ json }) => json.error?.code === 'ERR_REQUEST_INVALID'); // refusals are not kept
    await until(() => kept.length === 2);
    expect(requests[0]).toMatchObject({ question: 'one' });
    // By the calendar: another run of the device has another monotonic clock.
    expect(kept[0]!.expiresAtMs).toBeGreaterThan(Date.now());
    expect(kept[1]?.payload).toMatchObject({ status: 'error' });
    expect(asker.messages).toHaveLength(1);
    await first.sendAnswer(kept[0]!);
    await first.close();

    // What was kept comes back from a file.
    const restored = JSON.parse(JSON.stringify(kept)) as KeptAnswer[];
    await using second = await connectBus({ url: broker.url, device: 'keeper', protocolVersion: version });
    for (const answer of restored) expect(await second.sendAnswer(answer, { isRepeated: true })).toBe('delivered');
    await asker.next(() => asker.messages.length === 4);
    const [, once, again, failed] = asker.messages;
    expect(once?.json).toMatchObject({ status: 'ok', transaction: 'one', data: { question: 'one' } });
    expect(again?.text).toBe(once?.text);
    expect(failed?.json).toMatchObject({ status: 'error', transaction: 'fail' });
    if (version === 5) {
      expect(once?.packet.properties?.userProperties).not.toHaveProperty('repeated');
      expect(again?.packet.properties?.userProperties).toHaveProperty('repeated', 'true');
    }
  });

  test('are refused while the broker is away, so that whoever keeps them knows', async () => {
    await using proxy = await startProxy(broker.port);
    const kept: KeptAnswer[] = [];
    await using bus = await connectBus({
      url: proxy.url,
      device: 'away-keeper',
      protocolVersion: version,
      backoff: { initialMs: 5, maxMs: 20 },
      keepAnswer: (answer) => kept.push(answer) > 0,
    });
    bus.onAsk(async ({ question }) => observation(question));
    await using asker = await Listener.open(broker, version, bus.topics.response('ask'));
    await ask(asker, bus.topics.request('ask'), 'one');
    await until(() => kept.length === 1);
    proxy.close();
    await until(() => bus.state === 'offline');
    await expect(bus.sendAnswer(kept[0]!)).rejects.toMatchObject({ code: 'ERR_BUS_UNREACHABLE' });
    expect(bus.stats.queued).toBe(0);
    // By this run's own clock it is too late, by the calendar not: a wall clock may have been set meanwhile.
    const late = { ...kept[0]!, expiresAtMonotonicMs: kept[0]!.expiresAtMonotonicMs! - 3_600_000 };
    const untimely = { ...kept[0]!, expiresAtMs: Date.now() - 1 };
    proxy.open();
    await until(() => bus.state === 'online');
    await expect(bus.sendAnswer(late)).rejects.toMatchObject({ code: 'ERR_REQUEST_EXPIRED' });
    expect(await bus.sendAnswer(untimely)).toBe('delivered');
    // Of another run only the calendar counts.
    const { payload } = untimely;
    const foreign = { ...untimely, payload: { ...payload, run: 'another' } };
    await expect(bus.sendAnswer(foreign)).rejects.toMatchObject({ code: 'ERR_REQUEST_EXPIRED' });
  });
});
