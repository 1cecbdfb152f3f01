/** What each broker really does, found by publishing to oneself: the table in sdk/bus/contract/brokers.md. */
import { readFileSync } from 'node:fs';
import mqtt, { type MqttClient } from 'mqtt';
import { describe, expect, test } from 'vitest';
import { startEmbedded, startMosquitto } from '../support/brokers.js';
import { startNatsCluster, startRabbitMqCluster } from '../support/clusters.js';

const PAGE = new URL('../../sdk/bus/contract/brokers.md', import.meta.url);
const WAIT_MS = 1_500;

type Start = () => Promise<AsyncDisposable & { readonly url: string }>;
const oneOf = async (starting: ReturnType<typeof startNatsCluster>) => {
  const cluster = await starting;
  return { url: cluster.nodes[0]?.url ?? '', [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
};
const BROKERS: readonly { readonly name: string; readonly start: Start }[] = [
  { name: 'Mosquitto 2.0.11', start: () => startMosquitto() },
  { name: 'embedded (Aedes 1.2.0)', start: startEmbedded },
  { name: 'RabbitMQ 3.10.8', start: () => oneOf(startRabbitMqCluster(1)) },
  { name: 'NATS 2.9.10', start: () => oneOf(startNatsCluster(3)) },
];

/** Rejects also when the broker closes without a word, which `connectAsync` waits for forever. */
function connect(url: string, options: mqtt.IClientOptions = {}): Promise<MqttClient> {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect(url, { protocolVersion: 4, reconnectPeriod: 0, connectTimeout: 5_000, ...options });
    client.on('error', reject);
    client.once('close', () => reject(new Error('closed')));
    client.once('connect', () => resolve(client));
  });
}

/** Topics on which `client` hears something within the time. */
async function heard(client: MqttClient, send: () => Promise<unknown>): Promise<string[]> {
  const topics: string[] = [];
  const listener = (topic: string) => topics.push(topic);
  client.on('message', listener);
  await send().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  client.off('message', listener);
  return topics;
}

/** Each in connections of its own: a broker may close the one that it does not like. */
const FEATURES: readonly { readonly name: string; readonly see: (url: string) => Promise<string> }[] = [
  {
    name: 'MQTT 5',
    see: async (url) => {
      try {
        await (await connect(url, { protocolVersion: 5 })).endAsync(true);
        return 'yes';
      } catch {
        return 'no';
      }
    },
  },
  {
    name: 'shared subscription',
    see: async (url) => {
      const members = await Promise.all([connect(url), connect(url)]);
      const counts = [0, 0];
      for (const [index, member] of members.entries()) {
        member.on('message', () => {
          counts[index] = (counts[index] ?? 0) + 1;
        });
        await member.subscribeAsync('$share/g/s/t', { qos: 1 }).catch(() => {});
      }
      const publisher = await connect(url);
      for (let index = 0; index < 10; index += 1) await publisher.publishAsync('s/t', 'x', { qos: 1 });
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
      for (const client of [...members, publisher]) await client.endAsync(true);
      const sum = counts.reduce((a, b) => a + b, 0);
      return sum === 0 ? 'granted, delivers nothing' : sum === 10 && !counts.includes(0) ? 'yes' : `${sum} of 10`;
    },
  },
  {
    name: 'retained to a wildcard subscription',
    see: async (url) => {
      const client = await connect(url);
      await client.publishAsync('r/t', 'x', { qos: 1, retain: true });
      const topics = await heard(client, () => client.subscribeAsync('r/+', { qos: 1 }));
      await client.endAsync(true);
      return topics.length > 0 ? 'yes' : 'no';
    },
  },
  ...(['a.b', 'a b', 'a*b'] as const).map((level) => ({
    name: `topic with \`${level}\``,
    see: async (url: string) => {
      const listener = await connect(url);
      await listener.subscribeAsync('d/#', { qos: 1 });
      const publisher = await connect(url);
      let isThrownOut = false;
      publisher.on('close', () => {
        isThrownOut = true;
      });
      const publishing = () =>
        Promise.race([
          publisher.publishAsync(`d/${level}`, 'x', { qos: 1 }),
          new Promise((_, no) => publisher.on('close', no)),
        ]);
      const [topic] = await heard(listener, publishing);
      const seen = topic === `d/${level}` ? 'as it is' : topic === undefined ? 'lost' : `becomes \`${topic}\``;
      const result = isThrownOut ? 'publisher is thrown out' : seen;
      for (const client of [listener, publisher]) await client.endAsync(true);
      return result;
    },
  })),
  {
    name: 'overlapping filters of one client',
    see: async (url) => {
      const client = await connect(url);
      for (const filter of ['o/t', 'o/+']) await client.subscribeAsync(filter, { qos: 1 });
      const topics = await heard(client, () => client.publishAsync('o/t', 'x', { qos: 1 }));
      await client.endAsync(true);
      return `${topics.length} times`.replace('1 times', 'once').replace('2 times', 'twice');
    },
  },
];

/** `| feature | broker … |` of the page. */
function tableOf(page: string): string[][] {
  return page
    .split('\n')
    .filter((line) => line.startsWith('|') && !line.startsWith('|-'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

describe('sdk/bus/contract/brokers.md', () => {
  const [head = [], ...rows] = tableOf(readFileSync(PAGE, 'utf8').split('## ')[1] ?? '');

  test.each(BROKERS)('says what $name does', async ({ name, start }) => {
    await using broker = await start();
    const column = head.indexOf(name);
    const seen: Record<string, string> = {};
    for (const feature of FEATURES) seen[feature.name] = await feature.see(broker.url);
    console.log(name, JSON.stringify(seen, undefined, 1));
    const said = Object.fromEntries(rows.map((row) => [row[0] ?? '', row[column] ?? '']));
    for (const feature of FEATURES) expect(seen[feature.name], feature.name).toBe(said[feature.name]);
  });
});
