import { describe, expect, onTestFinished, test } from 'vitest';
import { WorkerChannel } from '#sdk/engine/shared/worker-channel.js';

interface Requests {
  echo: { request: unknown; response: unknown };
  notice: { request: unknown; response: null };
  fail: { request: unknown; response: null };
  exit: { request: number; response: null };
  throw: { request: string; response: null };
  silence: { request: null; response: null };
}

function open(onNotice: (notice: unknown) => void = () => {}) {
  const file = new URL('../../../fixtures/workers/obedient.mjs', import.meta.url);
  const channel = new WorkerChannel<Requests, unknown>(file, {}, onNotice);
  onTestFinished(() => channel.terminate());
  return channel;
}

test('answers reach their requests', async () => {
  const channel = open();
  expect(channel.alive).toBe(false);
  const answers = await Promise.all([1, 'two', { three: 3 }].map((value) => channel.request('echo', value)));
  expect(answers).toEqual([1, 'two', { three: 3 }]);
  expect(channel.generation).toBe(1);
});

test('typed errors stay typed, and notices come before the answer', async () => {
  const notices: unknown[] = [];
  const channel = open((notice) => notices.push(notice));
  const failed = channel.request('fail', 5);
  await expect(failed).rejects.toMatchObject({
    code: 'ERR_ENGINE_FAILED',
    message: 'told to',
    details: { request: 5 },
  });
  await channel.request('notice', 'half way');
  expect(notices).toEqual(['half way']);
});

describe('a worker that dies', () => {
  test.each([
    ['exits', (channel: ReturnType<typeof open>) => channel.request('exit', 3), 'exit code 3'],
    ['throws', (channel: ReturnType<typeof open>) => channel.request('throw', 'lightning'), 'lightning'],
  ] as const)('%s: everything that waits fails, and the next request starts another', async (_, die, reason) => {
    const channel = open();
    await channel.request('echo', 1);
    const waiting = [channel.request('silence', null), die(channel)];
    for (const result of await Promise.allSettled(waiting)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_ENGINE_DIED' } });
      expect(String((result as PromiseRejectedResult).reason)).toContain(reason);
    }
    expect(channel.alive).toBe(false);
    expect(await channel.request('echo', 'again')).toBe('again');
    expect(channel.generation).toBe(2);
  });

  test('is terminated from outside', async () => {
    const channel = open();
    const waiting = channel.request('silence', null);
    const settled = expect(waiting).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    await channel.terminate();
    await settled;
    await channel.terminate();
  });
});
