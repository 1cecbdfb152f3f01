/** A broker that refuses, stalls, restarts, forgets and loses packets, and strangers on it. */
import { setTimeout as sleep } from 'node:timers/promises';
import mqtt from 'mqtt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Faults } from '../support/fault/faults.js';
import { hostileMessage } from '../support/fault/hostile.js';
import { BROKER_CONFIG, Victim } from '../support/fault/victim.js';

const FAULT_MS = 300_000;
/** No user at all is known: every account is a bad one. */
const CLOSED_CONFIG = BROKER_CONFIG.replace('allow_anonymous true', 'allow_anonymous false');
let victim: Victim;
let faults: Faults;

beforeAll(async () => {
  ({ victim, faults } = await Faults.begin('lively'));
}, FAULT_MS);
afterAll(async () => {
  await faults.end();
});

/** The broker anew, with nothing remembered; the listener is there before the device. */
async function restart(config: string): Promise<void> {
  await victim.broker.restart(config);
  victim.ledger.last.clear();
  await victim.ledger.listen();
  victim.proxy.open();
}

/** While the device cannot reach its broker, watches go on: their events are accepted and wait. */
const acceptedMeanwhile = async (): Promise<void> => {
  victim.ledger.collect();
  const before = victim.ledger.accepted.size;
  while (victim.ledger.accepted.size === before) {
    await sleep(100);
    victim.ledger.collect();
  }
};

const RETAINED = [
  'availability',
  'info',
  'health',
  'camera/cam/status',
  'camera/cam/scene',
  'camera/cam/watch/lamp/state',
];

describe('a broker', () => {
  test('that restarts and has forgotten its retained messages is told everything again', {
    timeout: FAULT_MS,
  }, async () => {
    await faults.strike({
      name: 'broker killed; restarts with nothing retained',
      reason: /ERR_BUS_UNREACHABLE .*(lost|cannot be reached)/,
      strike: async (begun) => {
        const said = victim.untilSaid(/ERR_BUS_UNREACHABLE/);
        victim.proxy.close();
        await victim.broker.kill();
        await said;
        await acceptedMeanwhile();
        await restart(BROKER_CONFIG);
        begun();
      },
      isWell: () => RETAINED.every((topic) => victim.ledger.last.has(topic)),
    });
    expect(victim.ledger.last.get('availability').state).toBe('online');
  });

  test('that refuses the account: the device says so and what to do, and is back when it is let in', {
    timeout: FAULT_MS,
  }, async () => {
    const reason = /ERR_BUS_REJECTED .*refused the connection.*Check user name, password and access rules/;
    await faults.strike({
      name: 'broker refuses the account',
      reason,
      strike: async (begun) => {
        const said = victim.untilSaid(reason);
        victim.proxy.close();
        await victim.broker.kill();
        await victim.broker.restart(CLOSED_CONFIG);
        victim.proxy.open();
        await said;
        expect((await victim.healthz())?.state).toBe('degraded');
        await acceptedMeanwhile();
        victim.proxy.close();
        await victim.broker.kill();
        await restart(BROKER_CONFIG);
        begun();
      },
    });
  });

  test('that stalls (SIGSTOP) is given up, and used again when it goes on', { timeout: FAULT_MS }, async () => {
    await faults.strike({
      name: 'broker SIGSTOP',
      reason: /ERR_BUS_UNREACHABLE/,
      strike: async (begun) => {
        const said = victim.untilSaid(/ERR_BUS_UNREACHABLE/);
        victim.broker.signal('SIGSTOP');
        await said;
        await acceptedMeanwhile();
        victim.broker.signal('SIGCONT');
        begun();
      },
    });
  });

  test('of which every packet is lost for a while: the connection is made anew', { timeout: FAULT_MS }, async () => {
    await faults.strike({
      name: 'every packet from and to the broker is lost',
      reason: /ERR_BUS_UNREACHABLE/,
      strike: async (begun) => {
        const said = victim.untilSaid(/ERR_BUS_UNREACHABLE/);
        victim.proxy.swallow();
        await said;
        await acceptedMeanwhile();
        victim.proxy.open();
        begun();
      },
    });
  });

  test('that comes and goes again and again', { timeout: FAULT_MS }, async () => {
    await faults.strike({
      name: 'connection to the broker cut five times',
      strike: async (begun) => {
        for (let cut = 0; cut < 5; cut++) {
          victim.proxy.cut();
          await victim.untilHealth(({ problems }) => problems.some(({ code }) => code === 'ERR_BUS_UNREACHABLE'));
          if (cut === 4) begun();
          await victim.untilHealth(({ problems }) => problems.length === 0);
        }
      },
    });
  });
});

describe('strangers', () => {
  const TOPICS = [
    'request/ask',
    'request/describe',
    'request/nothing',
    'request/watch/add',
    'camera/cam/describe/set',
    'camera/../describe/set',
  ];
  const MESSAGES = 1_000;

  test(`that send ${MESSAGES} hostile messages are refused; the device goes on`, { timeout: FAULT_MS }, async () => {
    const figures = () => victim.ledger.last.get('health').metrics;
    const refused = (): number => figures().requestsRefused + figures().commandsRefused;
    const before = refused();
    const watches = victim.ledger.last.get('camera/cam/watch/lamp/state');
    await faults.strike({
      name: `${MESSAGES} hostile messages`,
      strike: async () => {
        const stranger = await mqtt.connectAsync(victim.broker.url, { protocolVersion: 5, reconnectPeriod: 0 });
        for (let i = 0; i < MESSAGES; i++) {
          const topic = `scenebus/${Victim.device}/${TOPICS[i % TOPICS.length]}`;
          const responseTopic = ['$SYS/x', `scenebus/${Victim.device}/info`, 'elsewhere/y', '#'][i % 4]!;
          await stranger.publishAsync(topic, hostileMessage(i), {
            qos: 1,
            retain: i % 50 === 0,
            properties: i % 7 === 0 && responseTopic !== '#' ? { responseTopic } : {},
          });
        }
        await stranger.endAsync();
      },
      isWell: () => refused() - before > 300,
    });
    expect(figures().responseTopicsRefused).toBeGreaterThan(0);
    expect(victim.ledger.last.get('camera/cam/watch/lamp/state').watch).toEqual(watches.watch);
    expect((await victim.healthz())?.state).toBe('running');
  });
});
