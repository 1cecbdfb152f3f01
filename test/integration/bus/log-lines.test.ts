/** What the bus says in a log: once, and in words that fit where it is read. */
import { describe, expect, test } from 'vitest';
import { type BusOptions, connectBus, openEmbeddedBroker } from '#sdk/bus/index.js';
import type { Logger } from '#sdk/core/logger.js';
import { freePort, startEmbedded, until } from '../../support/brokers.js';

function recorder() {
  const lines: string[] = [];
  const logger: Logger = { log: (level, message) => level !== 'debug' && lines.push(`${level} ${message}`) };
  return { lines, logger };
}

describe('a device that waits for its broker', () => {
  test('says once that it is not there, without advice for programmers, and once that it is connected', async () => {
    const { lines, logger } = recorder();
    const port = await freePort();
    const options: BusOptions = {
      url: `mqtt://127.0.0.1:${port}`,
      device: 'dev',
      waitForBroker: false,
      backoff: { initialMs: 2, maxMs: 2 },
      logger,
    };
    await using bus = await connectBus(options);
    await until(() => bus.state === 'offline');
    await new Promise((resolve) => setTimeout(resolve, 30));
    await using _broker = await openEmbeddedBroker({ port });
    await until(() => bus.state === 'online');
    expect(lines).toEqual([
      expect.stringMatching(
        /^warn Expected a broker at mqtt:\/\/127\.0\.0\.1:\d+, but it cannot be reached: ECONNREFUSED/,
      ),
      'info Connected to the broker',
    ]);
    expect(lines[0]).not.toMatch(/waitForBroker/);
  });

  test('tells a program that waits what else it could do', async () => {
    const url = `mqtt://127.0.0.1:${await freePort()}`;
    await expect(connectBus({ url, device: 'dev' })).rejects.toMatchObject({
      code: 'ERR_BUS_UNREACHABLE',
      message: expect.not.stringContaining('waitForBroker'),
      details: { hint: expect.stringMatching(/waitForBroker: false/) },
    });
  });
});

describe('the embedded broker', () => {
  test('says in one line where it runs and why not on its usual port', async () => {
    await using _first = await openEmbeddedBroker();
    const { lines, logger } = recorder();
    await using broker = await openEmbeddedBroker({ webSocket: { port: 0 }, logger });
    expect(lines).toEqual([
      `info No broker is configured, so an embedded one (MQTT 3.1.1) runs at ${broker.url} and ${broker.webSocketUrl}; port 1883 is taken`,
    ]);
  });
});

describe('names', () => {
  test('that not every broker carries are warned about', async () => {
    await using broker = await startEmbedded();
    const { lines, logger } = recorder();
    await using _dotted = await connectBus({ url: broker.url, device: 'kiosk.local', logger });
    expect(lines.filter((line) => line.startsWith('warn'))).toEqual([expect.stringMatching(/RabbitMQ and NATS/)]);
  });

  test('that would make the same client id under other roots do not throw each other out', async () => {
    await using broker = await startEmbedded();
    const open = (root: string, device: string) => connectBus({ url: broker.url, root, device });
    await using one = await open('a', 'b-c');
    await using two = await open('a-b', 'c');
    await using three = await open('a/b', 'c');
    for (const bus of [one, two, three]) {
      await bus.publishHealth({ state: 'running', uptimeSeconds: 1, problems: [] });
      expect(bus.stats).toMatchObject({ disconnects: 0 });
    }
  });
});
