/** The capture and the model process of a device, killed and stopped in whatever they are doing. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Faults } from '../support/fault/faults.js';
import { type ChildPart, hasLoaded } from '../support/fault/processes.js';
import type { Victim } from '../support/fault/victim.js';

const FAULT_MS = 300_000;
/** Loaded when a part is past its start and not yet ready. */
const LIBRARY = { model: 'onnxruntime', capture: 'libopencv_videoio' } as const;
const REASON = {
  model: { SIGKILL: /ERR_ENGINE_DIED .*SIGKILL/, SIGSTOP: /ERR_ENGINE_DIED .*SIGSTOP/ },
  capture: { SIGKILL: /ERR_CAPTURE_HOST_DIED/, SIGSTOP: /ERR_CAPTURE_TIMEOUT .*SIGSTOP/ },
} as const;

/** A new process of this part, because the one that is there is taken away. */
async function replacement(victim: Victim, part: ChildPart): Promise<number> {
  const old = await victim.untilPidOf(part);
  process.kill(old, 'SIGKILL');
  await victim.until(() => ![undefined, old].includes(victim.pidOf(part)));
  return victim.pidOf(part)!;
}

/** Resolves in the middle of what is named, with the process that does it. */
const PHASES: Readonly<Record<string, (victim: Victim, part: ChildPart) => Promise<number>>> = {
  starts: replacement,
  async loads(victim, part) {
    const pid = await replacement(victim, part);
    await victim.until(() => hasLoaded(pid, LIBRARY[part]));
    return pid;
  },
  async 'has nothing to do'(victim, part) {
    await victim.still();
    return await victim.untilPidOf(part);
  },
  async describes(victim, part) {
    await victim.inTheMiddleOf('describe', {});
    return await victim.untilPidOf(part);
  },
  async answers(victim, part) {
    await victim.inTheMiddleOf('ask', { question: 'What is there?' });
    return await victim.untilPidOf(part);
  },
};

// Two devices at once: most of the time is spent waiting.
describe.concurrent.each(['model', 'capture'] as const)('the %s process', (part) => {
  let victim: Victim;
  let faults: Faults;
  beforeAll(async () => {
    ({ victim, faults } = await Faults.begin('ask'));
  }, FAULT_MS);
  afterAll(async () => {
    await faults.end();
  });

  const cases = (['SIGKILL', 'SIGSTOP'] as const).flatMap((signal) =>
    Object.keys(PHASES).map((phase) => [signal, phase] as const),
  );
  test.sequential.each(cases)(
    'that gets %s while it %s is replaced; why is visible, and nothing is lost',
    {
      timeout: FAULT_MS,
    },
    async (signal, phase) => {
      await faults.strike({
        name: `${part} process ${signal} while it ${phase}`,
        reason: REASON[part][signal],
        strike: async (begun) => {
          const pid = await PHASES[phase]!(victim, part);
          process.kill(pid, signal);
          begun();
          victim.lively();
          await victim.until(() => ![undefined, pid].includes(victim.pidOf(part)));
        },
      });
    },
  );
});
