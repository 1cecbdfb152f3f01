/** A camera that fails as cameras do, in front of a device that answers, watches and describes. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Faults } from '../support/fault/faults.js';
import type { CameraMode } from '../support/fault/scripted-camera.js';
import type { Victim } from '../support/fault/victim.js';

const FAULT_MS = 300_000;
let victim: Victim;
let faults: Faults;

beforeAll(async () => {
  ({ victim, faults } = await Faults.begin('lively'));
}, FAULT_MS);
afterAll(async () => {
  await faults.end();
});

const TROUBLE: readonly (readonly [what: string, mode: CameraMode, ends: boolean, reason: RegExp])[] = [
  ['stalls', 'silent', false, /ERR_CAPTURE_(TIMEOUT|STALLED|LOST)/],
  ['sends parts that are no pictures', 'garbage', false, /ERR_CAPTURE_\w+/],
  ['sends bytes that are no parts', 'noise', false, /ERR_CAPTURE_\w+/],
  ['ends and takes nobody back', 'refusing', true, /ERR_CAPTURE_\w+/],
];

test.each(TROUBLE)(
  'a camera that %s: why is visible, it is opened again, nothing is lost',
  { timeout: FAULT_MS },
  async (what, mode, ends, reason) => {
    await faults.strike({
      name: `camera ${what}`,
      reason,
      strike: async (begun) => {
        const said = victim.untilSaid(reason);
        victim.camera.mode = mode;
        if (ends) victim.camera.end();
        await said;
        // It tried to open it at least once in vain.
        victim.camera.mode = 'pictures';
        victim.camera.end();
        begun();
      },
    });
  },
);

test('a camera that ends and is there at once is opened again', { timeout: FAULT_MS }, async () => {
  await faults.strike({
    name: 'camera ends, and is there again',
    strike: async () => {
      const { frameId } = victim.ledger.last.get('camera/cam/scene');
      victim.camera.end();
      await victim.until(() => victim.ledger.last.get('camera/cam/scene').frameId !== frameId);
    },
  });
});

test('a camera that changes the size of its pictures: what is told afterwards has the new size', {
  timeout: FAULT_MS,
}, async () => {
  const width = (): unknown => victim.ledger.last.get('camera/cam/scene').image.width;
  const before = width();
  await faults.strike({
    name: 'camera changes the size of its pictures, twice',
    strike: async (begun) => {
      victim.camera.mode = 'small';
      begun();
      await victim.until(() => width() === 320);
      victim.camera.mode = 'pictures';
      await victim.until(() => width() === before);
    },
  });
  expect(before).not.toBe(320);
});
