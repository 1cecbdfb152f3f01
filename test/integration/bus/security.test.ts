import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Aedes } from 'aedes';
import { connectClient } from 'scenebus/client';
import { describe, expect, test } from 'vitest';
import { type BusOptions, connectBus, readTlsFiles } from '#sdk/bus/index.js';
import { publishPacketBytes } from '#sdk/bus/transport/packet-size.js';
import type { Logger } from '#sdk/core/logger.js';
import { startMosquitto, startProxy, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const PASSWORD = 'hunter2-%/@secret';
const tlsFile = (name: string): string => fileURLToPath(new URL(`../../fixtures/tls/${name}`, import.meta.url));

/** A Mosquitto that knows one user, who may do what `acl` says. */
async function startProtected(acl: string) {
  const folder = await mkdtemp(join(tmpdir(), 'scenebus-passwords-'));
  try {
    const file = join(folder, 'passwords');
    await promisify(execFile)('mosquitto_passwd', ['-b', '-c', file, 'robot', PASSWORD]);
    const config =
      'listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\nacl_file {folder}/acl\n';
    return await startMosquitto(config, { passwords: await readFile(file, 'utf8'), acl });
  } finally {
    await rm(folder, { recursive: true });
  }
}

const ALLOWED = 'user robot\ntopic readwrite scenebus/#\n';

function recorder(): { readonly logger: Logger; readonly text: () => string } {
  const lines: string[] = [];
  return { logger: { log: (...all) => lines.push(JSON.stringify(all)) }, text: () => lines.join('\n') };
}

describe.each([5, 4] as const)('credentials, MQTT version %i', (version) => {
  test('work from the options or the address, and appear in no log, error or property', async () => {
    await using broker = await startProtected(ALLOWED);
    const { logger, text } = recorder();
    const withCredentials = broker.url.replace('//', `//robot:${encodeURIComponent(PASSWORD)}@`);
    const seen: string[] = [];
    for (const options of [
      { url: withCredentials },
      { url: broker.url, username: 'robot', password: PASSWORD },
    ] satisfies Partial<BusOptions>[]) {
      await using bus = await connectBus({
        ...options,
        device: 'dev',
        protocolVersion: version,
        logger,
        backoff: { initialMs: 5, maxMs: 20 },
      });
      expect(await bus.publishScene('cam0', observation())).toBe('delivered');
      seen.push(bus.broker, JSON.stringify(bus), JSON.stringify(bus.stats));
      await broker.kill();
      await until(() => bus.state === 'offline');
      await broker.restart();
      await until(() => bus.state === 'online');
    }
    for (const url of [broker.url.replace('//', '//robot:hunter2-wrong@'), broker.url]) {
      const failure = connectBus({ url, device: 'dev', protocolVersion: version, logger });
      await expect(failure).rejects.toMatchObject({
        code: 'ERR_BUS_REJECTED',
        message: expect.stringMatching(/password/),
      });
      const error = (await failure.catch((reason: unknown) => reason)) as Error & { details: unknown };
      seen.push(error.message, error.stack ?? '', JSON.stringify(error.details), String(error.cause));
    }
    expect(text()).toContain('Connected to the broker');
    expect([...seen, text()].join('\n')).not.toMatch(/hunter2/);
  });
});

describe('access rules', () => {
  test('that forbid the request topic are a typed error: the device would be deaf', async () => {
    // Mosquitto's access file grants every subscription and then delivers nothing, so another broker says no here.
    const aedes = await Aedes.createBroker({ authorizeSubscribe: (_client, _subscription, done) => done(null, null) });
    const server = createServer((socket) => aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no port');
    const url = `mqtt://127.0.0.1:${address.port}`;
    await expect(connectBus({ url, device: 'dev' })).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/subscription.*access rules/),
    });
    await expect(connectClient(url)).rejects.toMatchObject({ code: 'ERR_BUS_REJECTED' });
    await new Promise<void>((resolve) => aedes.close(resolve));
    await new Promise((resolve) => server.close(resolve));
  });

  test('that forbid a topic surface as a failed publish, and the rest goes on (MQTT 5)', async () => {
    const acl = 'user robot\ntopic readwrite scenebus/#\ntopic deny scenebus/dev/camera/secret/scene\n';
    await using broker = await startProtected(acl);
    await using bus = await connectBus({ url: broker.url, username: 'robot', password: PASSWORD, device: 'dev' });
    await expect(bus.publishScene('secret', observation())).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/camera\/secret\/scene/),
    });
    expect(await bus.publishScene('open', observation())).toBe('delivered');
    expect(bus.stats).toMatchObject({ publishFailures: 1, published: 1 });
  });
});

describe('limits of the broker', () => {
  test('are respected: a packet over its maximum is refused here, with both sizes', async () => {
    await using broker = await startMosquitto(
      'listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 4096\n',
    );
    await using bus = await connectBus({ url: broker.url, device: 'dev' });
    await expect(bus.publishScene('cam0', observation('x'.repeat(5000)))).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/4096 bytes/),
    });
    expect(await bus.publishScene('cam0', observation())).toBe('delivered');
    expect(bus.stats.disconnects).toBe(0);
  });

  test('are used to the last byte', async () => {
    await using broker = await startMosquitto(
      'listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 4096\n',
    );
    await using bus = await connectBus({ url: broker.url, device: 'dev', protocolVersion: 5 });
    let sizeBytes = 0;
    bus.onPublished(({ topic, payload }) => {
      const properties = {
        payloadFormatIndicator: true,
        contentType: 'application/json',
        messageExpiryInterval: 300,
        userProperties: { schema: 'scenebus.scene/1' },
      };
      sizeBytes = publishPacketBytes({ topic, payload: JSON.stringify(payload), qos: 1, version: 5, properties });
    });
    await bus.publishScene('cam0', observation('x'.repeat(1000)));
    const room = 4096 - sizeBytes + 1000;
    expect(await bus.publishScene('cam0', observation('x'.repeat(room)))).toBe('delivered');
    expect(sizeBytes).toBe(4096);
    await expect(bus.publishScene('cam0', observation('x'.repeat(room + 1)))).rejects.toMatchObject({
      message: expect.stringMatching(/needs 4097/),
    });
    expect(bus.stats.disconnects).toBe(0);
  });

  test('are told to a caller whose answer is too long', async () => {
    await using broker = await startMosquitto(
      'listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 4096\n',
    );
    await using bus = await connectBus({ url: broker.url, device: 'dev' });
    bus.onAsk(async () => observation('x'.repeat(5000)));
    await using client = await connectClient(broker.url);
    await expect(client.ask('dev', 'Tell me everything.', { timeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      message: expect.stringMatching(/4096 bytes/),
    });
  });

  test('that keeps no retained messages are told at once, with what to do', async () => {
    await using broker = await startMosquitto(
      'listener {port} 127.0.0.1\nallow_anonymous true\nretain_available false\n',
    );
    await expect(connectBus({ url: broker.url, device: 'dev', protocolVersion: 5 })).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/no retained messages.*switch them on/),
    });
  });
});

describe('TLS', () => {
  const config = `listener {port} 127.0.0.1
allow_anonymous true
cafile ${tlsFile('ca.pem')}
certfile ${tlsFile('server.pem')}
keyfile ${tlsFile('server.key')}
require_certificate true
`;

  test('connects with the right certificates and says what is wrong with others', async () => {
    await using broker = await startMosquitto(config);
    const url = broker.url.replace('mqtt:', 'mqtts:');
    const right = await readTlsFiles({
      caFile: tlsFile('ca.pem'),
      certFile: tlsFile('client.pem'),
      keyFile: tlsFile('client.key'),
    });
    await using bus = await connectBus({ url, device: 'dev', tls: right });
    expect(await bus.publishScene('cam0', observation())).toBe('delivered');
    // A certificate that nobody here vouches for.
    await expect(connectBus({ url, device: 'dev', tls: { cert: right.cert, key: right.key } })).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/TLS.*CA file/s),
    });
    // The right certificate of another name.
    await expect(connectBus({ url, device: 'dev', tls: { ...right, servername: 'elsewhere' } })).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
    });
    // No certificate of ours, although the broker wants one.
    await expect(connectBus({ url, device: 'other', tls: { ca: right.ca } })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_BUS_/),
    });
    // Plain MQTT at the TLS port.
    await expect(connectBus({ url: broker.url, device: 'other' })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_BUS_/),
    });
  });
});

describe('two devices with one name', () => {
  test.each([
    ['and one client id, which throw each other out', undefined],
    ['and client ids of their own', 'second'],
  ])('%s, are told in the log', async (_name, clientId) => {
    const { logger, text } = recorder();
    await using broker = await startMosquitto();
    const options = { url: broker.url, device: 'twin', backoff: { initialMs: 10, maxMs: 1000 } };
    // The first comes back later than the second needs to connect: thrown out before that, it would fail to start.
    const patient = { initialMs: 500, maxMs: 1000 };
    await using first = await connectBus({ ...options, backoff: patient, logger });
    await using second = await connectBus({ ...options, clientId });
    await until(() => first.stats.nameConflicts > 0);
    expect(text()).toMatch(/same name twin/);
    expect(second.run).not.toBe(first.run);
  });

  test('are not suspected when a device starts again after a crash', async () => {
    await using broker = await startMosquitto();
    await using proxy = await startProxy(broker.port);
    const crashed = await connectBus({ url: proxy.url, device: 'dev', backoff: { initialMs: 60_000, maxMs: 60_000 } });
    proxy.cut();
    await using again = await connectBus({ url: broker.url, device: 'dev' });
    expect(await again.publishScene('cam0', observation())).toBe('delivered');
    expect(again.stats.nameConflicts).toBe(0);
    await crashed.close();
  });
});
