/** Questions to any device of a group, on real brokers: taken by exactly one, and asked again when that one is gone. */
import mqtt from 'mqtt';
import { type BusClient, connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { type Bus, type BusOptions, connectBus } from '#sdk/bus/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { BROKERS, freePort, startMosquitto, startProxy, type TestBroker, until } from '../../support/brokers.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { observation } from '../../support/observations.js';

const QUICK = { backoff: { initialMs: 5, maxMs: 20 } } as const;

/** A device that answers with its name. */
async function openMember(
  options: Pick<BusOptions, 'url' | 'device' | 'groups'> & Partial<BusOptions>,
  answered: string[] = [],
): Promise<Bus> {
  const bus = await connectBus({ ...QUICK, ...options });
  bus.onAsk(async ({ question }) => {
    answered.push(`${options.device}: ${question}`);
    return observation(`${options.device} says ${question}`);
  });
  return bus;
}

/** Every one of them is ready, and knows of all the others. */
async function assembled(...buses: readonly Bus[]): Promise<void> {
  await until(() =>
    buses.every(({ groups }) =>
      groups.every((group) => group.state === 'ready' && group.readyMembers === buses.length),
    ),
  );
}

// With MQTT 3.1.1 Mosquitto shares subscriptions as with 5: the other two are what differs.
describe.each(BROKERS.filter(({ name }) => name !== 'Mosquitto, MQTT 3.1.1'))(
  'a group at $name',
  ({ name, version, start }) => {
    let broker: TestBroker;
    let client: BusClient;
    beforeAll(async () => {
      broker = await start();
      client = await connectClient({ url: broker.url, protocolVersion: version, ...QUICK });
    });
    afterAll(async () => {
      await client.close();
      await broker[Symbol.asyncDispose]();
    });
    const member = (device: string, group: string, more: Partial<BusOptions> = {}, answered: string[] = []) =>
      openMember({ url: broker.url, protocolVersion: version, device, groups: [{ name: group }], ...more }, answered);

    test('gives each question to exactly one member, and every member some', async () => {
      const answered: string[] = [];
      await using a = await member('a', 'lobby', {}, answered);
      await using b = await member('b', 'lobby', {}, answered);
      await using c = await member('c', 'lobby', {}, answered);
      await assembled(a, b, c);
      expect(a.groups).toMatchObject([{ name: 'lobby', delivery: name.includes('Aedes') ? 'members' : 'shared' }]);
      const lobby = client.group('lobby');
      const replies = await Promise.all(Array.from({ length: 30 }, (_, index) => lobby.ask(`number ${index}?`)));
      for (const [index, reply] of replies.entries()) {
        expect(reply.text).toBe(`${reply.device} says number ${index}?`);
        // Whoever took it in a later turn cannot know that nobody before did.
        const attempt = name.includes('Aedes') ? expect.any(Number) : 1;
        expect(reply.group).toEqual({ name: 'lobby', attempt });
      }
      expect(answered).toHaveLength(30);
      expect(new Set(replies.map(({ device }) => device))).toEqual(new Set(['a', 'b', 'c']));
    });

    test('lets busy members take what nobody else can, and says so when all are full', async () => {
      const waiting: (() => void)[] = [];
      const full = { groups: [{ name: 'till', busyAt: 1 }], maxUnanswered: 2 };
      await using one = await member('one', 'till', full);
      await using two = await member('two', 'till', full);
      for (const [device, bus] of Object.entries({ one, two })) {
        bus.onAsk(async () => {
          await new Promise<void>((resolve) => waiting.push(resolve));
          return observation(device);
        });
      }
      await assembled(one, two);
      const asked = [client.ask('one', 'direct?'), client.ask('two', 'direct?')];
      await until(() => one.groups[0]?.state === 'busy' && two.groups[0]?.state === 'busy');
      const till = client.group('till');
      const taken = till.ask('who is free?');
      await until(() => waiting.length === 3);
      asked.push(client.ask('one', 'more?').catch(() => observation() as never));
      asked.push(client.ask('two', 'more?').catch(() => observation() as never));
      await until(() => waiting.length === 4);
      await expect(till.ask('one more?', { timeoutMs: 30_000 })).rejects.toMatchObject({ code: 'ERR_BUSY' });
      for (const go of waiting) go();
      expect(['one', 'two']).toContain((await taken).device);
      await Promise.all(asked);
    });

    test('leaves a busy member alone until it has done half of its work', async () => {
      const waiting: (() => void)[] = [];
      await using busy = await member('busy', 'desk', { groups: [{ name: 'desk', busyAt: 2 }] });
      busy.onAsk(async () => {
        await new Promise<void>((resolve) => waiting.push(resolve));
        return observation('late');
      });
      await using idle = await member('idle', 'desk', { groups: [{ name: 'desk', busyAt: 100 }] });
      await assembled(busy, idle);
      const stuck = [client.ask('busy', 'one?'), client.ask('busy', 'two?')];
      await until(() => busy.groups[0]?.state === 'busy' && idle.groups[0]?.readyMembers === 1);
      const replies = await Promise.all(
        Array.from({ length: 12 }, (_, index) => client.group('desk').ask(`${index}?`)),
      );
      expect(new Set(replies.map(({ device }) => device))).toEqual(new Set(['idle']));
      for (const go of waiting) go();
      await Promise.all(stuck);
      await until(() => busy.groups[0]?.state === 'ready' && idle.groups[0]?.readyMembers === 2);
    });

    test('says that nobody takes it when every member is degraded', async () => {
      await using only = await member('only', 'hall');
      await assembled(only);
      only.standInGroups('no camera works');
      await until(() => only.groups[0]?.awayReason === 'no camera works');
      // The announcement follows when the broker has taken the subscription back.
      for (;;) {
        const [seen] = (await client.fleet({ waitMs: 100 })).filter(({ device }) => device === 'only');
        if (seen?.groups[0]?.state === 'away') break;
      }
      await expect(client.group('hall').ask('Anybody?', { timeoutMs: 1_000 })).rejects.toMatchObject({
        code: expect.stringMatching(/ERR_BUS_(UNREACHABLE|TIMEOUT)/),
        message: expect.stringMatching(/group hall.*(away|busy)/),
        details: { group: 'hall' },
      });
      only.standInGroups(undefined);
      await assembled(only);
      expect((await client.group('hall').ask('And now?')).device).toBe('only');
    });

    test('asks another device when the one that took it goes away, and marks the answer', async () => {
      await using proxy = await startProxy(broker.port);
      const taken: string[] = [];
      const hang = (bus: Bus, device: string) =>
        bus.onAsk(({ question }, { signal }) => {
          taken.push(device);
          if (taken.length > 1) return Promise.resolve(observation(`${device} says ${question}`));
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        });
      await using first = await member('first', 'gate', { url: proxy.url, willDelaySeconds: 0 });
      await using second = await member('second', 'gate', { url: proxy.url, willDelaySeconds: 0 });
      hang(first, 'first');
      hang(second, 'second');
      await assembled(first, second);
      const reply = client.group('gate').ask('Who is left?', { timeoutMs: 60_000 });
      await until(() => taken.length === 1);
      const [gone] = taken;
      await (gone === 'first' ? first : second).close();
      const { device, group } = await reply;
      expect(device).toBe(gone === 'first' ? 'second' : 'first');
      expect(group).toEqual({ name: 'gate', attempt: 2 });
    });

    test('asks another device when one refuses because it is busy, and no other for a bad question', async () => {
      const asked: string[] = [];
      await using one = await member('one', 'bar');
      await using two = await member('two', 'bar');
      for (const [device, bus] of [
        ['one', one],
        ['two', two],
      ] as const) {
        bus.onAsk(async ({ question }) => {
          asked.push(device);
          if (question === 'bad?') throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected another question.');
          if (asked.length === 1) throw new SdkError('ERR_BUSY', 'Full.');
          return observation(device);
        });
      }
      await assembled(one, two);
      const reply = await client.group('bar').ask('Where?');
      expect(asked).toHaveLength(2);
      expect(new Set(asked)).toEqual(new Set(['one', 'two']));
      expect(reply).toMatchObject({ device: asked[1], group: { attempt: 2 } });
      await expect(client.group('bar').ask('bad?')).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
      expect(asked).toHaveLength(3);
    });

    test('answers once where two devices have one name', async () => {
      const answered: string[] = [];
      await using one = await member('twin', 'pair', { clientId: `twin-1-${version}` }, answered);
      await using two = await member('twin', 'pair', { clientId: `twin-2-${version}` }, answered);
      await until(() => [one, two].every(({ groups }) => groups[0]?.awayReason === undefined));
      const replies = await Promise.all(
        Array.from({ length: 10 }, (_, index) => client.group('pair').ask(`${index}?`)),
      );
      expect(replies.map(({ device }) => device)).toEqual(Array(10).fill('twin'));
      expect(new Set(answered).size).toBe(10);
      expect(one.stats.nameConflicts + two.stats.nameConflicts).toBeGreaterThan(0);
    });

    test('lists the fleet: presence, versions, what is degraded, groups', async () => {
      await using here = await member('here', 'list');
      await assembled(here);
      await here.publishInfo({ versions: { scenebus: '1.2.3' }, model: null, cameras: ['front'] });
      await here.publishHealth({
        state: 'degraded',
        uptimeSeconds: 5,
        problems: [{ code: 'ERR_CAPTURE_LOST', message: 'The camera front is lost.', retryable: true }],
      });
      const stopped = await member('stopped', 'list');
      await stopped.close();
      const fleet = await client.fleet({ waitMs: 300 });
      expect(fleet.find(({ device }) => device === 'here')).toMatchObject({
        state: 'online',
        info: { versions: { scenebus: '1.2.3' } },
        health: { state: 'degraded', problems: [{ code: 'ERR_CAPTURE_LOST' }] },
        groups: [{ group: 'list', state: 'ready' }],
      });
      expect(fleet.find(({ device }) => device === 'stopped')).toMatchObject({ state: 'stopped', groups: [] });
      expect(fleet.map(({ device }) => device)).toEqual([...fleet.map(({ device }) => device)].sort());
    });

    test('is no way to reach one device, nor one device a way to reach it', async () => {
      await using here = await member('solo', 'way');
      await assembled(here);
      await expect(client.request('solo', 'ask', { question: 'Who?', group: {} })).rejects.toMatchObject({
        code: 'ERR_REQUEST_INVALID',
        message: expect.stringContaining('group'),
      });
      const stranger = await mqtt.connectAsync(broker.url, { protocolVersion: version });
      const refused = new Promise<string>((resolve) =>
        stranger.on('message', (_topic, payload) => resolve(payload.toString())),
      );
      await stranger.subscribeAsync('scenebus/solo/response/ask', { qos: 1 });
      // An answer there would be a claim, or a member that does not exist.
      const body = { question: 'Who?', responseTopic: 'scenebus/group/way/member/forged' };
      await stranger.publishAsync('scenebus/group/way/request/ask', JSON.stringify(body), { qos: 1 });
      expect(JSON.parse(await refused)).toMatchObject({ status: 'error', error: { code: 'ERR_REQUEST_INVALID' } });
      await stranger.endAsync();
    });
  },
);

test('members behind a bridge agree among themselves, and each question is answered once', async () => {
  await using left = await startMosquitto();
  const port = await freePort();
  await using right = await startMosquitto(
    `listener {port} 127.0.0.1\nallow_anonymous true\nconnection bridge\naddress 127.0.0.1:${left.port}\nbridge_protocol_version mqttv311\ntopic scenebus/# both 1\n`,
  );
  expect(port).toBeGreaterThan(0);
  const answered: string[] = [];
  const groups = [{ name: 'wide' }];
  await using a = await openMember({ url: left.url, device: 'a', groups }, answered);
  await using b = await openMember({ url: right.url, device: 'b', groups }, answered);
  await assembled(a, b);
  await until(() => a.groups[0]?.delivery === 'members' && b.groups[0]?.delivery === 'members');
  await using client = await connectClient({ url: left.url, ...QUICK });
  const replies = await Promise.all(Array.from({ length: 20 }, (_, index) => client.group('wide').ask(`${index}?`)));
  expect(new Set(replies.map(({ device }) => device))).toEqual(new Set(['a', 'b']));
  expect(answered).toHaveLength(20);
});

test('a name with a wildcard, or none, is refused before anything is sent', async () => {
  await using broker = await startMosquitto();
  await using client = await connectClient({ url: broker.url });
  for (const name of ['+', '#', 'a/b', '', '$share', '..']) {
    expect(() => client.group(name), name).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
    await expect(openMember({ url: broker.url, device: 'x', groups: [{ name }] }), name).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
  }
  await expect(connectBus({ url: broker.url, device: 'group' })).rejects.toMatchObject({
    code: 'ERR_ARGUMENT_INVALID',
    message: expect.stringContaining('another device name'),
  });
  await expect(
    openMember({ url: broker.url, device: 'x', groups: [{ name: 'a' }, { name: 'a' }] }),
  ).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
});

describe('on the command line', () => {
  async function scenebus(broker: TestBroker, ...args: string[]) {
    const terminal = captureTerminal();
    const code = await runCli(['bus', ...args, '--broker', broker.url], { terminal, environment: {} });
    return { code, out: terminal.output(), err: terminal.errors() };
  }

  test('bus ask --group says which device answered, bus fleet what is wrong with which', async () => {
    await using broker = await startMosquitto();
    await using well = await openMember({ url: broker.url, device: 'well', groups: [{ name: 'lobby' }] });
    await using ill = await openMember({ url: broker.url, device: 'ill', groups: [{ name: 'lobby' }] });
    await assembled(well, ill);
    ill.standInGroups('The camera front is lost.');
    await well.publishInfo({ versions: { scenebus: '1.2.3' }, model: { id: 'Llama-demo' }, cameras: ['front'] });
    await well.publishHealth({ state: 'running', uptimeSeconds: 1, problems: [] });
    const problem = { code: 'ERR_CAPTURE_LOST', message: 'The camera front is lost.', retryable: true };
    await ill.publishHealth({ state: 'degraded', uptimeSeconds: 1, problems: [problem] });
    const asked = await scenebus(broker, 'ask', '--group', 'lobby', 'Who is there?');
    expect(asked).toMatchObject({ code: 0, err: expect.stringContaining('answered by well') });
    expect(asked.out).toContain('well says Who is there?');
    const { out, err } = await scenebus(broker, 'fleet', '--wait', '0.3');
    expect(out).toMatch(/^ill degraded {2}lobby: away \(The camera front is lost\.\)\n {2}ERR_CAPTURE_LOST: /m);
    expect(out).toMatch(/^well running {2}scenebus 1\.2\.3, Llama-demo, 1 cameras, lobby: ready$/m);
    expect(err).toContain('2 devices, 1 not well');
    expect(await scenebus(broker, 'fleet', '--group', 'other', '--wait', '0.3')).toMatchObject({
      code: 0,
      err: expect.stringContaining('no device of the group other'),
    });
  });

  test('a device beside a group, or no question, is refused with what was expected', async () => {
    await using broker = await startMosquitto();
    const both = await scenebus(broker, 'ask', '--group', 'lobby', 'kiosk', 'Who?');
    expect(both).toMatchObject({ code: 2, err: expect.stringContaining('Expected a device or --group lobby') });
    const none = await scenebus(broker, 'ask', 'kiosk');
    expect(none).toMatchObject({ code: 2, err: expect.stringContaining('Expected a device and a question') });
    const wild = await scenebus(broker, 'ask', '--group', '+', 'Who?');
    expect(wild).toMatchObject({ code: 2, err: expect.stringContaining('Expected a group name') });
  });
});
