/** The capture and the model process of a device, killed and stopped in whatever they are doing. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Faults } from '../support/fault/faults.js';
import { type ChildPart, hasLoaded } from '../support/fault/processes.js';
import { Victim } from '../support/fault/victim.js';

const FAULT_MS = 120_000;
/** Loaded when a part is past its start and not yet ready. */
const LIBRARY = { model: 'onnxruntime', capture: 'libopencv_videoio' } as const;
const REASON = {
  model: { SIGKILL: /ERR_ENGINE_DIED .*SIGKILL/, SIGSTOP: /ERR_ENGINE_DIED .*SIGSTOP/ },
  capture: { SIGKILL: /ERR_CAPTURE_HOST_DIED/, SIGSTOP: /ERR_CAPTURE_TIMEOUT .*SIGSTOP/ },
} as const;

let victim: Victim;
let faults: Faults;

beforeAll(async () => {
  victim = await Victim.prepare();
  await victim.start();
  faults = new Faults(victim);
  victim.ask();
  await victim.untilAnswered();
  faults.begin();
}, FAULT_MS);

afterAll(async () => {
  console.log(faults.table);
  await victim[Symbol.asyncDispose]();
});

/** A new process of this part, because the one that is there is taken away. */
async function replacement(part: ChildPart): Promise<number> {
  const old = await victim.untilPidOf(part);
  process.kill(old, 'SIGKILL');
  await victim.until(() => ![undefined, old].includes(victim.pidOf(part)));
  return victim.pidOf(part)!;
}

/** Resolves in the middle of what is named, with the process that does it. */
const PHASES: Readonly<Record<string, (part: ChildPart) => Promise<number>>> = {
  starts: replacement,
  async loads(part) {
    const pid = await replacement(part);
    await victim.until(() => hasLoaded(pid, LIBRARY[part]));
    return pid;
  },
  async 'has nothing to do'(part) {
    await victim.still();
    return await victim.untilPidOf(part);
  },
  async describes(part) {
    await victim.inTheMiddleOf('describe', {});
    return await victim.untilPidOf(part);
  },
  async answers(part) {
    await victim.inTheMiddleOf('ask', { question: 'What is there?' });
    return await victim.untilPidOf(part);
  },
};

describe.each(['model', 'capture'] as const)('the %s process', (part) => {
  describe.each(['SIGKILL', 'SIGSTOP'] as const)('that gets %s', (signal) => {
    test.each(Object.keys(PHASES))(
      'while it %s is replaced; why is visible, and nothing is lost',
      {
        timeout: FAULT_MS,
      },
      async (phase) => {
        await faults.strike({
          name: `${part} process ${signal} while it ${phase}`,
          reason: REASON[part][signal],
          strike: async () => {
            const pid = await PHASES[phase]!(part);
            process.kill(pid, signal);
            victim.lively();
            await victim.until(() => ![undefined, pid].includes(victim.pidOf(part)));
          },
        });
      },
    );
  });
});
