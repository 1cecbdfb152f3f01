import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ServiceNotifier } from '#device/platform/service-notifier.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function start(environment: Record<string, string> = {}) {
  const said: string[] = [];
  const notify = (message: string) => void said.push(message);
  return { said, notifier: new ServiceNotifier({ environment, notify, pid: 7, monotonicMs: () => 1_234.5 }) };
}

describe('the service manager', () => {
  test('is asked for time while the service starts, until it is ready', () => {
    const { said, notifier } = start();
    notifier.starting();
    vi.advanceTimersByTime(30_000);
    expect(said).toEqual(Array(3).fill('EXTEND_TIMEOUT_USEC=60000000'));
    notifier.ready();
    vi.advanceTimersByTime(60_000);
    expect(said.slice(3)).toEqual(['READY=1']); // and nothing more: there is no watchdog
  });

  test('is given a sign of life twice in the time that its watchdog grants, until the end', () => {
    const { said, notifier } = start({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' });
    notifier.starting();
    notifier.ready();
    vi.advanceTimersByTime(30_000);
    expect(said.filter((message) => message === 'WATCHDOG=1')).toHaveLength(3);
    notifier[Symbol.dispose]();
    vi.advanceTimersByTime(60_000);
    expect(said.filter((message) => message === 'WATCHDOG=1')).toHaveLength(3);
  });

  test('that watches another process is not answered', () => {
    const { said, notifier } = start({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' });
    notifier.ready();
    vi.advanceTimersByTime(60_000);
    expect(said).toEqual(['READY=1']);
  });

  test('is told of the state once for each change, in one line, of a reload with its time, and of the stop', () => {
    const { said, notifier } = start();
    notifier.status('degraded: no\nbroker');
    notifier.status('degraded: no\nbroker');
    notifier.reloading();
    notifier.reloaded();
    notifier.stopping();
    expect(said).toEqual([
      'STATUS=degraded: no broker',
      'RELOADING=1\nMONOTONIC_USEC=1234500',
      'READY=1',
      'STOPPING=1',
    ]);
  });
});
