import { createServer } from 'node:net';
import mqtt from 'mqtt';
import { describe, expect, test } from 'vitest';
import { connectBus, openEmbeddedBroker } from '#sdk/bus/index.js';
import { freePort, Listener, until } from '../../support/brokers.js';

describe('the embedded broker', () => {
  test('listens on loopback only, says where, and carries messages', async () => {
    const said: string[] = [];
    await using broker = await openEmbeddedBroker({
      port: 0,
      logger: { log: (_level, message) => said.push(message) },
    });
    expect(broker).toMatchObject({ host: '127.0.0.1', url: `mqtt://127.0.0.1:${broker.port}` });
    expect(said.join()).toContain(broker.url);
    await using bus = await connectBus({ url: broker.url, device: 'dev' });
    expect(bus.protocolVersion).toBe(4);
    expect(broker.connections).toBe(1);
    await using listener = await Listener.open(broker, 4, bus.topics.availability);
    expect((await listener.next(() => true)).json.state).toBe('online');
  });

  test('says that a port which was asked for is taken, and takes another one when none was asked for', async () => {
    const busy = createServer();
    const port = await freePort();
    await new Promise<void>((resolve) => busy.listen(port, '127.0.0.1', resolve));
    try {
      await expect(openEmbeddedBroker({ port })).rejects.toMatchObject({
        code: 'ERR_BUS_PORT_IN_USE',
        details: { port },
      });
    } finally {
      await new Promise((resolve) => busy.close(resolve));
    }
    // Whoever has 1883, the second of two brokers without a port cannot have it.
    await using first = await openEmbeddedBroker();
    await using second = await openEmbeddedBroker();
    expect(second.port).not.toBe(first.port);
    expect(second.port).not.toBe(1883);
  });

  test('does not open itself to the network without credentials', async () => {
    await expect(openEmbeddedBroker({ host: '0.0.0.0', port: 0 })).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
    });
    await expect(
      openEmbeddedBroker({ host: '192.0.2.1', port: 0, username: 'u', password: 'p' }),
    ).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
    await using broker = await openEmbeddedBroker({ port: 0, username: 'robot', password: 'hunter2' });
    await expect(connectBus({ url: broker.url, device: 'dev' })).rejects.toMatchObject({ code: 'ERR_BUS_REJECTED' });
    await expect(
      connectBus({ url: broker.url, device: 'dev', username: 'robot', password: 'wrong' }),
    ).rejects.toMatchObject({
      code: 'ERR_BUS_REJECTED',
      message: expect.stringMatching(/password/),
    });
    await using bus = await connectBus({ url: broker.url.replace('//', '//robot:hunter2@'), device: 'dev' });
    expect(bus.state).toBe('online');
    expect(bus.broker).toBe(broker.url);
  });

  test('ends a connection that sends too long a packet, and keeps the others', async () => {
    await using broker = await openEmbeddedBroker({ port: 0, maxPacketBytes: 10_000 });
    await using good = await Listener.open(broker, 4, 'a');
    const bad = await mqtt.connectAsync(broker.url, { reconnectPeriod: 0 });
    const closed = new Promise<void>((resolve) => bad.once('close', () => resolve()));
    bad.publish('a', Buffer.alloc(20_000));
    await closed;
    await good.client.publishAsync('a', 'still here', { qos: 1 });
    await good.next(({ text }) => text === 'still here');
    expect(good.messages).toHaveLength(1);
  });

  test('refuses connections over the limit', async () => {
    await using broker = await openEmbeddedBroker({ port: 0, maxConnections: 1 });
    await using first = await Listener.open(broker, 4, 'a');
    await expect(connectBus({ url: broker.url, device: 'dev' })).rejects.toMatchObject({ code: 'ERR_BUS_UNREACHABLE' });
    expect(first.client.connected).toBe(true);
  });

  test('queues nothing for absent clients, and lets nobody write below $SYS', async () => {
    await using broker = await openEmbeddedBroker({ port: 0 });
    const options = { clean: false, clientId: 'sleeper' };
    {
      await using sleeper = await Listener.open(broker, 4, 'a', options);
      expect(sleeper.client.connected).toBe(true);
    }
    await until(() => broker.connections === 0);
    await using writer = await Listener.open(broker, 4, 'b');
    await writer.client.publishAsync('a', 'missed', { qos: 1 });
    await using awake = await Listener.open(broker, 4, 'a', options);
    await writer.client.publishAsync('a', 'heard', { qos: 1 });
    await awake.next(() => true);
    expect(awake.messages.map(({ text }) => text)).toEqual(['heard']);
    const closed = new Promise<void>((resolve) => writer.client.once('close', () => resolve()));
    writer.client.publish('$SYS/x', 'y', { qos: 1 });
    await closed;
  });

  test('closes with clients connected', async () => {
    const broker = await openEmbeddedBroker({ port: 0 });
    const bus = await connectBus({ url: broker.url, device: 'dev' });
    await broker.close();
    await broker.close();
    await until(() => bus.state === 'offline');
    await bus.close();
  });
});
