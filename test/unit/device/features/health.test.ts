import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EventHub } from '#device/events/hub.js';
import { startHealth } from '#device/features/health.js';
import { fakeContext, fakeModel } from '../../../support/device-fakes.js';

const YEAR_MS = 365 * 86_400_000;

describe('the health of a device whose clock is set back by a year', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 2 * YEAR_MS }));
  afterEach(() => void vi.useRealTimers());

  test('comes as often as before, with an uptime that goes on and the stamp of the new time', async () => {
    const context = await fakeContext(fakeModel().model, { healthIntervalSeconds: 30 });
    const health = startHealth(context, { state: () => 'running', metrics: () => ({}) });
    const first = await context.next('health');
    expect([first.atMs, first.body.uptimeSeconds]).toEqual([2 * YEAR_MS, 0]);

    vi.setSystemTime(YEAR_MS);
    for (const count of [2, 3]) {
      context.advance(30_000);
      vi.advanceTimersByTime(30_000);
      const next = await context.next('health', count);
      expect([next.atMs, next.body.uptimeSeconds]).toEqual([YEAR_MS + 30_000 * (count - 1), 30 * (count - 1)]);
    }
    await health[Symbol.asyncDispose]();
  });
});

test('events keep their order by their ids when the clock is set back', async () => {
  let wallMs = 2 * YEAR_MS;
  const hub = new EventHub({ run: 'r', wallMs: () => wallMs });
  const before = await hub.emit('problem', { part: 'model', problem: null });
  wallMs -= YEAR_MS;
  const after = await hub.emit('problem', { part: 'model', problem: null });
  expect([before.atMs, after.atMs]).toEqual([2 * YEAR_MS, YEAR_MS]);
  expect(before.id < after.id).toBe(true);
});
