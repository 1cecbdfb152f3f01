/** Accounts that may do what the contract's access rules say, and nothing more. */
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Aedes } from 'aedes';
import { connectClient, type WatchReport } from 'scenebus/client';
import { describe, expect, test } from 'vitest';
import {
  type AccessRules,
  type Bus,
  type BusOptions,
  clientAccess,
  connectBus,
  deviceAccess,
  groupAccess,
} from '#sdk/bus/index.js';
import type { Logger } from '#sdk/core/logger.js';
import { startMosquitto, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const PLUGIN = [
  '/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so',
  '/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so',
].find((path) => existsSync(path));
const README = fileURLToPath(new URL('../../../README.md', import.meta.url));
const PASSWORD = 'hunter2';

/** The README's table of access rules, with names put in. */
function rulesOfReadme(account: string): AccessRules {
  const rows = readFileSync(README, 'utf8')
    .split('\n')
    .map((line) => /^\| (\w+) \| (publish|subscribe|subscribe \(.*\)) \| `([^`]+)` \|$/.exec(line))
    .filter((row) => row?.[1] === account)
    .map((row) => [row?.[2] ?? '', (row?.[3] ?? '').replace('<root>', 'scenebus').replace('<device>', 'dev')] as const);
  const filters = (may: (what: string) => boolean) => rows.filter(([what]) => may(what)).map(([, filter]) => filter);
  return {
    publish: filters((what) => what === 'publish'),
    subscribe: filters((what) => what === 'subscribe'),
    subscribeOptional: filters((what) => what.startsWith('subscribe (')),
  };
}

/** A configuration of Mosquitto's dynamic security plugin that allows exactly `accounts`. */
function dynamicSecurity(accounts: Readonly<Record<string, AccessRules>>): string {
  const acl = (acltype: string, topic: string) => ({ acltype, topic, priority: 0, allow: true });
  return JSON.stringify({
    defaultACLAccess: { publishClientSend: false, publishClientReceive: true, subscribe: false, unsubscribe: true },
    clients: Object.keys(accounts).map((username) => {
      const salt = randomBytes(12);
      const hash = pbkdf2Sync(PASSWORD, salt, 101, 64, 'sha512');
      return {
        username,
        roles: [{ rolename: username, priority: 0 }],
        password: hash.toString('base64'),
        salt: salt.toString('base64'),
        iterations: 101,
      };
    }),
    groups: [],
    roles: Object.entries(accounts).map(([rolename, { publish, subscribe, subscribeOptional }]) => ({
      rolename,
      acls: [
        ...publish.map((topic) => acl('publishClientSend', topic)),
        // A device subscribes to these very filters, a controller also to one camera or one topic of its own among them.
        ...[...subscribe, ...subscribeOptional].map((topic) =>
          acl(rolename === 'device' ? 'subscribeLiteral' : 'subscribePattern', topic),
        ),
      ],
    })),
  });
}

function startGuarded(accounts: Readonly<Record<string, AccessRules>>) {
  return startMosquitto(
    `listener {port} 127.0.0.1\nallow_anonymous false\nplugin ${PLUGIN}\nplugin_opt_config_file {folder}/security.json\n`,
    { 'security.json': dynamicSecurity(accounts) },
  );
}

function recorder(): { readonly logger: Logger; readonly warnings: string[] } {
  const warnings: string[] = [];
  return { warnings, logger: { log: (level, message) => level === 'warn' && warnings.push(message) } };
}

const report: WatchReport = {
  watch: { id: 'door', question: 'Is the door open?', answerType: 'yes-no' },
  origin: 'bus',
  cameras: [],
};
const event = {
  ...observation(),
  watch: 'door',
  eventId: 'e1',
  type: 'new',
  question: 'Is the door open?',
  answerType: 'yes-no',
  value: true,
  previous: false,
  probability: 0.9,
  startedAtMs: Date.UTC(2026, 0, 2),
  evidence: { objects: [] },
} as const;

/** Everything that a device publishes. */
async function publishAll(bus: Bus): Promise<void> {
  const { frame, model } = observation();
  await bus.publishInfo({ versions: {}, model: null, cameras: ['cam0'] });
  await bus.publishHealth({ state: 'running', uptimeSeconds: 1, problems: [] });
  await bus.publishScene('cam0', observation());
  await bus.publishCameraSetting('cam0', 'privacy', false);
  await bus.publishEvent('cam0', event);
  await bus.publishWatchState('cam0', 'door', {
    ...{ frame, model, question: 'Is the door open?', answerType: 'yes-no', value: true },
    ...{ probability: 0.9, eventId: 'e1', sinceMs: Date.UTC(2026, 0, 2) },
  });
}

describe.runIf(PLUGIN !== undefined)('an account with the rights of the README, dynamic security plugin', () => {
  test('has in the README what the contract says', () => {
    expect(rulesOfReadme('device')).toEqual(deviceAccess('scenebus', 'dev'));
    expect(rulesOfReadme('controller')).toEqual(clientAccess('scenebus', 'dev'));
  });

  test.each([5, 4] as const)('is enough for a device and a controller, MQTT version %i', async (version) => {
    const accounts = { device: rulesOfReadme('device'), controller: rulesOfReadme('controller') };
    await using broker = await startGuarded(accounts);
    const { logger, warnings } = recorder();
    const common = { url: broker.url, password: PASSWORD, protocolVersion: version, logger };
    await using bus = await connectBus({ ...common, username: 'device', device: 'dev' });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
    bus.handle('watch/add', async () => ({ watch: report }));
    const commands: unknown[] = [];
    bus.onSetting((...all) => {
      commands.push(all);
    });
    await using client = await connectClient({ ...common, username: 'controller' });
    const heard: string[] = [];
    client.onEvent('dev', ({ eventId }) => heard.push(eventId), { camera: 'cam0' });
    expect((await client.ask('dev', 'Who?', { timeoutMs: 10_000 })).text).toBe('Asked: Who?');
    expect(await client.watch('dev', report.watch)).toEqual(report);
    await client.setCamera('dev', 'cam0', 'privacy', true);
    await until(() => commands.length === 1);
    await publishAll(bus);
    await until(() => heard.length === 1);
    const scenes = client.scenes('dev');
    expect((await scenes.next()).value).toMatchObject({ camera: 'cam0' });
    await scenes.return?.();
    expect(bus.stats).toMatchObject({ publishFailures: 0, disconnects: 0 });
    expect(warnings).toEqual([]);
  });

  test.each([5, 4] as const)('is enough without the optional subscriptions, MQTT version %i', async (version) => {
    const rules = deviceAccess('scenebus', 'dev');
    await using broker = await startGuarded({
      device: { ...rules, subscribeOptional: [] },
      controller: clientAccess('scenebus', 'dev'),
    });
    const { logger, warnings } = recorder();
    const common = { url: broker.url, password: PASSWORD, protocolVersion: version, logger };
    await using bus = await connectBus({ ...common, username: 'device', device: 'dev' });
    bus.onAsk(async () => observation());
    await using client = await connectClient({ ...common, username: 'controller' });
    expect((await client.ask('dev', 'Who?', { timeoutMs: 10_000 })).frameId).toBe('cam0-000001');
    expect(warnings).toHaveLength(4);
    expect(warnings[0]).toMatch(/refused the subscription to scenebus\/dev\/availability.*without noticing another/);
    await broker.kill();
    await until(() => bus.state === 'offline');
    warnings.length = 0;
    await broker.restart();
    await until(() => bus.state === 'online');
    expect(warnings.filter((line) => line.includes('refused'))).toEqual([]);
  });

  test('is enough with the rights of a group for a device in it and who asks it', async () => {
    const plus = (a: AccessRules, b: AccessRules): AccessRules => ({
      publish: [...a.publish, ...b.publish],
      subscribe: [...a.subscribe, ...b.subscribe],
      subscribeOptional: [...a.subscribeOptional, ...b.subscribeOptional],
    });
    const group = groupAccess('scenebus', 'lobby', 'dev');
    await using broker = await startGuarded({
      device: plus(deviceAccess('scenebus', 'dev'), group.device),
      controller: plus(clientAccess('scenebus', 'dev'), group.controller),
    });
    const { logger, warnings } = recorder();
    const common = { url: broker.url, password: PASSWORD, logger };
    const groups = [{ name: 'lobby' }];
    await using bus = await connectBus({ ...common, username: 'device', device: 'dev', groups });
    bus.onAsk(async () => observation('Here.'));
    await until(() => bus.groups[0]?.state === 'ready');
    await using client = await connectClient({ ...common, username: 'controller' });
    expect(await client.group('lobby').ask('Who?')).toMatchObject({ text: 'Here.', group: { attempt: 1 } });
    expect(warnings).toEqual([]);
  });

  test('is refused what it does not name', async () => {
    await using broker = await startGuarded({ device: deviceAccess('scenebus', 'dev') });
    const other = { url: broker.url, username: 'device', password: PASSWORD, device: 'other' };
    await expect(connectBus(other)).rejects.toMatchObject({ code: 'ERR_BUS_REJECTED' });
  });
});

describe('a broker that cuts the connection for a subscription that it does not allow', () => {
  test('loses the subscription, not the device', async () => {
    const aedes = await Aedes.createBroker({
      authorizeSubscribe: (client, { topic }, done) => {
        if (topic.endsWith('/availability') && client !== null) client.close();
        else done(null, { topic, qos: 1 });
      },
    });
    const server = createServer((socket) => aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no port');
    const { logger, warnings } = recorder();
    const options: BusOptions = {
      url: `mqtt://127.0.0.1:${address.port}`,
      device: 'dev',
      protocolVersion: 4,
      backoff: { initialMs: 5, maxMs: 20 },
      logger,
    };
    const bus = await connectBus(options);
    expect(await bus.publishScene('cam0', observation())).toMatch(/queued|delivered/);
    await until(() => bus.stats.published >= 1 && bus.state === 'online');
    expect(bus.stats.disconnects).toBe(2);
    expect(warnings.filter((line) => line.includes('refused'))).toHaveLength(1);
    await bus.close();
    await new Promise<void>((resolve) => aedes.close(resolve));
    await new Promise((resolve) => server.close(resolve));
  });
});
