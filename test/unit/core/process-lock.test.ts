/** One owner at a time, and no lock that outlives its owner. */
import { existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type LockOptions, type LockOwner, ProcessLock } from '#sdk/core/process-lock.js';
import { temporaryFolder } from '../checkpoint/checkpoint-folder.js';

function place() {
  const folder = temporaryFolder();
  const file = path.join(folder, 'work.lock');
  const locked = (owner: LockOwner | undefined) => Object.assign(new Error('locked'), { owner });
  const acquire = (more: Partial<LockOptions> = {}) => ProcessLock.acquire(file, { locked, ...more });
  const age = (ageMs: number) => utimesSync(file, new Date(Date.now() - ageMs), new Date(Date.now() - ageMs));
  const put = (owner: Partial<LockOwner> | string, ageMs = 0) => {
    writeFileSync(file, typeof owner === 'string' ? owner : JSON.stringify({ ...thisProcess(), ...owner }));
    age(ageMs);
  };
  return { folder, file, acquire, age, put };
}

function thisProcess(): LockOwner {
  const started = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]!.split(' ')[19]!;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return { pid: process.pid, host: os.hostname(), boot, started, run: 'another' };
}

test('is held by one at a time, waited for by the others, and gone afterwards', async () => {
  const { folder, acquire } = place();
  let inside = 0;
  const work = async () => {
    await using _ = await acquire({ timeoutMs: 30_000 });
    inside += 1;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(inside).toBe(1);
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 6 }, work));
  expect(readdirSync(folder)).toEqual([]);
});

test('says who holds it, and leaves no draft behind', async () => {
  const { folder, acquire } = place();
  await using _ = await acquire();
  await expect(acquire()).rejects.toMatchObject({ owner: { pid: process.pid, host: os.hostname() } });
  expect(readdirSync(folder)).toEqual(['work.lock']);
});

test('waiting ends with the signal, at once', async () => {
  const { folder, acquire } = place();
  await using _ = await acquire();
  const controller = new AbortController();
  const waiting = acquire({ timeoutMs: 60_000, signal: controller.signal });
  const reason = new Error('enough');
  setTimeout(() => controller.abort(reason), 20);
  await expect(waiting).rejects.toBe(reason);
  expect(readdirSync(folder)).toEqual(['work.lock']);
});

describe('is taken over', () => {
  test.each<[string, Partial<LockOwner> | string, number]>([
    ['from a process that is gone', { pid: 2 ** 22 + 1 }, 0],
    ['from the first process of a container before it started anew', { started: '1' }, 0],
    ['from a process before the machine started anew', { boot: 'an earlier one' }, 0],
    ['from another host that has not renewed it', { host: 'elsewhere' }, 61_000],
    ['from another host whose clock was far ahead', { host: 'elsewhere' }, -3_600_000],
    ['from a thread that was stopped', {}, 61_000],
    ['when it cannot be read for a while', '{"pid":', 11_000],
  ])('%s', async (_, owner, ageMs) => {
    const { folder, acquire, put } = place();
    put(owner, ageMs);
    const lock = await acquire({ abandonedAfterMs: 60_000 });
    await lock[Symbol.asyncDispose]();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('by one of many', async () => {
    for (let round = 0; round < 20; round += 1) {
      const { folder, acquire, put } = place();
      put({ pid: 2 ** 22 + 1 });
      const results = await Promise.allSettled(Array.from({ length: 8 }, () => acquire()));
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect(readdirSync(folder)).toEqual(['work.lock']);
    }
  });

  test('after one who wanted to was killed', async () => {
    const { folder, file, acquire, put } = place();
    put({ pid: 2 ** 22 + 1 });
    writeFileSync(`${file}-taken`, '');
    utimesSync(`${file}-taken`, new Date(1e12), new Date(1e12));
    await using _ = await acquire();
    expect(readdirSync(folder)).toEqual(['work.lock']);
  });
});

describe('is not taken over', () => {
  test.each<[string, Partial<LockOwner> | string, number, number | undefined]>([
    ['from a living process, however old', { pid: process.ppid, started: '' }, 3_600_000, 60_000],
    ['from another host that renews it', { host: 'elsewhere' }, 30_000, 60_000],
    ['from another host of which nothing is known', { host: 'elsewhere' }, 3_600_000, undefined],
    ['from this process, of which a thread may hold it', {}, 3_600_000, undefined],
    ['when it may just be written', '', 0, 60_000],
  ])('%s', async (_, owner, ageMs, abandonedAfterMs) => {
    const { file, acquire, put } = place();
    put(owner, ageMs);
    await expect(acquire({ abandonedAfterMs })).rejects.toThrow('locked');
    expect(existsSync(file)).toBe(true);
  });
});

test('is renewed while it is held, where age counts', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const { file, acquire, age } = place();
  const lock = await acquire({ abandonedAfterMs: 60_000 });
  age(59_000);
  vi.advanceTimersByTime(20_000);
  await expect.poll(() => Date.now() - statSync(file).mtimeMs).toBeLessThan(5000);
  await lock[Symbol.asyncDispose]();
  expect(vi.getTimerCount()).toBe(0);
});

test('that another owner took over is left alone', async () => {
  const { file, acquire, put } = place();
  const lock = await acquire();
  put({ host: 'elsewhere' });
  await lock[Symbol.asyncDispose]();
  expect(existsSync(file)).toBe(true);
});

test('works where there are no hard links', async () => {
  const { link } = fs;
  const put = (implementation: typeof link) => {
    Object.assign(fs, { link: implementation });
    syncBuiltinESMExports();
  };
  put(() => Promise.reject(Object.assign(new Error('operation not permitted'), { code: 'EPERM' })));
  onTestFinished(() => put(link));
  const { folder, acquire } = place();
  const lock = await acquire();
  await expect(acquire()).rejects.toThrow('locked');
  await lock[Symbol.asyncDispose]();
  expect(readdirSync(folder)).toEqual([]);
});
