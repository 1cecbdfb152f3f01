/** The service itself, killed and stopped in whatever it is doing; its children while it stops. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Faults } from '../support/fault/faults.js';
import { hasLoaded, isAlive } from '../support/fault/processes.js';
import { Victim } from '../support/fault/victim.js';

const FAULT_MS = 300_000;
/** As long as a service is stopped; longer than its children wait for anything of it. */
const STOPPED_MS = 2_500;
/** Until a broker takes a silent client for gone and its will's delay is over. */
const WILL_MS = 60_000;

/** Resolves in the middle of what is named. The service has to be running for those of the second list. */
const BEFORE_IT_RUNS: Readonly<Record<string, (victim: Victim) => Promise<unknown>>> = {
  starts: () => sleep(150),
  async 'loads its model'(victim) {
    const pid = await victim.untilPidOf('model');
    await victim.until(() => hasLoaded(pid, 'onnxruntime'));
  },
};
const WHILE_IT_RUNS: Readonly<Record<string, (victim: Victim) => Promise<unknown>>> = {
  'has nothing to do': (victim) => victim.still(),
  describes: (victim) => victim.inTheMiddleOf('describe', {}),
  answers: (victim) => victim.inTheMiddleOf('ask', { question: 'What is there?' }),
};

describe.concurrent.each(['SIGKILL', 'SIGSTOP'] as const)('the service that gets %s', (signal) => {
  let victim: Victim;
  let faults: Faults;
  beforeAll(async () => {
    ({ victim, faults } = await Faults.begin('ask'));
  }, FAULT_MS);
  afterAll(async () => {
    await faults.end();
  });

  /** Killed it is started again, as a service manager does; stopped it goes on some time later. */
  async function strike(begun: () => void): Promise<void> {
    victim.kill(signal);
    if (signal === 'SIGKILL') {
      const children = [victim.pidOf('model'), victim.pidOf('capture')];
      expect(await victim.ended()).toBe('SIGKILL');
      begun();
      victim.spawn();
      await victim.until(() => children.every((pid) => pid === undefined || !isAlive(pid)));
    } else {
      await sleep(STOPPED_MS);
      victim.kill('SIGCONT');
      begun();
    }
    victim.lively();
  }

  test.sequential.each(Object.keys(BEFORE_IT_RUNS))(
    'while it %s is up again, and nothing is lost',
    {
      timeout: FAULT_MS,
    },
    async (phase) => {
      await faults.strike({
        name: `service ${signal} while it ${phase}`,
        strike: async (begun) => {
          victim.kill('SIGTERM');
          expect(await victim.ended()).toBe(0);
          victim.spawn();
          await BEFORE_IT_RUNS[phase]!(victim);
          await strike(begun);
        },
      });
    },
  );

  test.sequential.each(Object.keys(WHILE_IT_RUNS))(
    'while it %s is up again, and nothing is lost',
    {
      timeout: FAULT_MS,
    },
    async (phase) => {
      const { run } = victim.ledger.last.get('availability');
      await faults.strike({
        name: `service ${signal} while it ${phase}`,
        strike: async (begun) => {
          await WHILE_IT_RUNS[phase]!(victim);
          await strike(begun);
        },
      });
      const { state, run: runNow } = victim.ledger.last.get('availability');
      expect(state).toBe('online');
      // A new run is how listeners see that it started again.
      expect(runNow !== run).toBe(signal === 'SIGKILL');
    },
  );

  test.sequential('while it stops: its retained states say that it is gone', { timeout: FAULT_MS }, async () => {
    await faults.strike({
      name: `service ${signal} while it stops`,
      strike: async (begun) => {
        victim.kill('SIGTERM');
        victim.kill(signal);
        if (signal === 'SIGSTOP') {
          await sleep(STOPPED_MS);
          victim.kill('SIGCONT');
        }
        expect(await victim.ended()).toBe(signal === 'SIGSTOP' ? 0 : 'SIGKILL');
        const gone = signal === 'SIGSTOP' ? 'stopped' : 'offline';
        while (victim.ledger.last.get('availability').state !== gone) await sleep(50);
        begun();
        await victim.start();
      },
    });
  });

  test.sequential.each(signal === 'SIGSTOP' ? ['long'] : [])(
    'for %s is told as offline, and online when it goes on',
    {
      timeout: FAULT_MS + WILL_MS,
    },
    async () => {
      await faults.strike({
        name: `service ${signal} until its will is published`,
        strike: async (begun) => {
          victim.kill('SIGSTOP');
          while (victim.ledger.last.get('availability').state !== 'offline') await sleep(50);
          victim.kill('SIGCONT');
          begun();
        },
        isWell: () => victim.ledger.last.get('availability').state === 'online',
      });
    },
  );
});

describe('a process of a service that is stopping', () => {
  let victim: Victim;
  beforeAll(async () => {
    victim = await Victim.prepare();
  });
  afterEach(async () => {
    if (victim.isRunning) victim.kill('SIGKILL');
    await victim.ended();
  });
  afterAll(() => victim[Symbol.asyncDispose]());

  test.each([
    ['model', 'SIGKILL', 'capture', 'SIGSTOP'],
    ['capture', 'SIGKILL', 'model', 'SIGSTOP'],
  ] as const)(
    '(%s %s, %s %s) does not keep it from ending in time, with everything told',
    {
      timeout: FAULT_MS,
    },
    async (first, firstSignal, second, secondSignal) => {
      await victim.start();
      victim.ask();
      await victim.untilAnswered();
      await victim.quiet();
      const pids = { model: await victim.untilPidOf('model'), capture: await victim.untilPidOf('capture') };
      victim.kill('SIGTERM');
      process.kill(pids[first], firstSignal);
      process.kill(pids[second], secondSignal);
      // By its own rule: later than five seconds it would have ended with 1.
      expect(await victim.ended()).toBe(0);
      while (victim.ledger.last.get('availability').state !== 'stopped') await sleep(20);
      for (const pid of Object.values(pids)) expect(isAlive(pid)).toBe(false);
      expect(await victim.ledger.settle(30_000)).toEqual([]);
    },
  );
});
