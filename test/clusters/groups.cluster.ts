/**
 * A group of devices on real broker clusters, one node of which is killed in the middle of 1 000 questions: none is
 * lost, and what is answered twice is marked.
 */
import { type BusClient, connectClient } from 'scenebus/client';
import { describe, expect, test } from 'vitest';
import { type Bus, connectBus } from '#sdk/bus/index.js';
import { startMosquitto, until } from '../support/brokers.js';
import { type Cluster, startNatsCluster, startRabbitMqCluster } from '../support/clusters.js';
import { observation } from '../support/observations.js';

const QUESTIONS = 1_000;
const AT_ONCE = 20;
const QUICK = { backoff: { initialMs: 20, maxMs: 200 } } as const;
const NO_LIMITS = { clientLimits: { requestsPerSecond: 100_000, burst: 100_000, unanswered: 10_000 } } as const;

/** Two brokers with a bridge: each has its own sessions and shared subscriptions. */
async function startBridge(): Promise<Cluster> {
  const left = await startMosquitto();
  const right = await startMosquitto(
    `listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 10000\nconnection bridge\naddress 127.0.0.1:${left.port}\nrestart_timeout 1\ntopic scenebus/# both 1\n`,
  );
  return {
    nodes: [left, right].map(({ url, port, kill }) => ({ url, port, kill })),
    async [Symbol.asyncDispose]() {
      await right[Symbol.asyncDispose]();
      await left[Symbol.asyncDispose]();
    },
  };
}

const CLUSTERS = [
  { name: 'two Mosquittos with a bridge', start: startBridge, killed: 1, isBridge: true },
  { name: 'NATS, three nodes', start: () => startNatsCluster(), killed: 1, isBridge: false },
  { name: 'RabbitMQ, three nodes', start: () => startRabbitMqCluster(), killed: 1, isBridge: false },
] as const;

describe.each(CLUSTERS)('a group on $name', ({ name, start, killed, isBridge }) => {
  test(`answers ${QUESTIONS} questions while a node is killed`, async () => {
    await using cluster = await start();
    const { nodes } = cluster;
    const addressesFrom = (index: number) => {
      const inTurn = nodes.map((_, offset) => nodes[(index + offset) % nodes.length]?.url ?? '');
      // The nodes of a bridge are brokers of their own: what is on one stays there.
      const [url = '', ...alternatives] = inTurn;
      return { url, alternatives: isBridge ? [] : alternatives };
    };
    /** Answers by question: the attempts that they carry. */
    const answers = new Map<string, number[]>();
    const buses: Bus[] = [];
    const clients: BusClient[] = [];
    try {
      for (const index of nodes.keys()) {
        const device = `device-${index}`;
        const bus = await connectBus({
          ...addressesFrom(index),
          ...QUICK,
          ...NO_LIMITS,
          device,
          willDelaySeconds: 0,
          groups: [{ name: 'lobby', busyAt: 50 }],
        });
        bus.onAsk(async ({ question }) => observation(question));
        bus.onPublished(({ payload }) => {
          // biome-ignore lint/suspicious/noExplicitAny: any response
          const { status, data, group } = payload as any;
          if (status !== 'ok') return;
          answers.set(data.question, [...(answers.get(data.question) ?? []), group.attempt]);
        });
        buses.push(bus);
      }
      await until(() =>
        buses.every(({ groups: [group] }) => group?.state === 'ready' && group.readyMembers === buses.length),
      );
      const client = await connectClient({ ...addressesFrom(0), ...QUICK });
      clients.push(client);
      const devices = new Map<string, number>();
      let asked = 0;
      let again = 0;
      const startedMs = performance.now();
      const worker = async (): Promise<void> => {
        while (asked < QUESTIONS) {
          const number = asked;
          asked += 1;
          if (number === QUESTIONS / 2) void nodes[killed]?.kill();
          const reply = await client.group('lobby').ask(`question ${number}`, { timeoutMs: 60_000 });
          expect(reply.text).toBe(`question ${number}`);
          devices.set(reply.device, (devices.get(reply.device) ?? 0) + 1);
          if (reply.group?.attempt === 2) again += 1;
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      const twice = [...answers.values()].filter((attempts) => attempts.length > 1);
      console.log(
        `${name}: ${QUESTIONS} asked, ${QUESTIONS} answered in ${Math.round((performance.now() - startedMs) / 100) / 10} s, ` +
          `asked again ${again}, answered twice ${twice.length}, delivery ${buses[0]?.groups[0]?.delivery}, ` +
          `by ${[...devices].map(([device, count]) => `${device} ${count}`).join(', ')}`,
      );
      expect([...devices.values()].reduce((sum, count) => sum + count, 0)).toBe(QUESTIONS);
      // Of the answers to one question at most one is not marked as perhaps the second.
      for (const attempts of twice) expect(attempts.filter((attempt) => attempt === 1).length).toBeLessThanOrEqual(1);
    } finally {
      for (const client of clients) await client.close();
      for (const bus of buses) await bus.close();
    }
  });
});
