/** A disk that is full, read-only or damaged, memory that does not suffice, and a clock that is set. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '#sdk/native/index.js';
import { Faults } from '../support/fault/faults.js';
import type { Victim, VictimOptions } from '../support/fault/victim.js';

const FAULT_MS = 300_000;
const DISK_MEGABYTES = 8;
const DISK_REASON = /ERR_DISK_FULL .*full/;
const HOUR_MS = 3_600_000;

let victim: Victim;
let faults: Faults;
const tables: string[] = [];

async function begin(options: VictimOptions): Promise<void> {
  ({ victim, faults } = await Faults.begin('lively', options));
}

async function end(): Promise<void> {
  tables.push(faults.table);
  await victim[Symbol.asyncDispose]();
}

afterAll(() => console.log(tables.join('\n')));

/** Answers and events while the journal cannot be written. */
async function arrivedMeanwhile(): Promise<void> {
  const before = victim.ledger.seen.size;
  await victim.until(() => victim.ledger.seen.size > before + 3);
}

/** A file system of its own needs the rights of root; where they lack, nothing here stands in for it. */
const canMount = canMountHere();
function canMountHere(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'scenebus-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'ignore' });
    execFileSync('umount', [folder]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.runIf(canMount)('a disk', () => {
  const disk = mkdtempSync(join(tmpdir(), 'scenebus-disk-'));
  // Over itself: the reader of this test holds files below open, which a change of the mount itself would not allow.
  const forbid = (): void => {
    execFileSync('mount', ['--bind', disk, disk]);
    execFileSync('mount', ['-o', 'remount,bind,ro', disk]);
  };
  const allow = (): void => void execFileSync('umount', ['-l', disk]);

  beforeAll(async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MEGABYTES}m`, 'tmpfs', disk]);
    await begin({ journalDirectory: disk });
  }, FAULT_MS);
  afterAll(async () => {
    await end();
    execFileSync('umount', ['-l', '-R', disk]);
    rmSync(disk, { recursive: true });
  });

  test('that is full: events go on in memory, why is visible, all is written when there is room', {
    timeout: FAULT_MS,
  }, async () => {
    const filler = join(disk, 'filler');
    await faults.strike({
      name: 'disk full (ENOSPC)',
      reason: DISK_REASON,
      strike: async (begun) => {
        const said = victim.untilSaid(DISK_REASON);
        fill(filler);
        await said;
        expect((await victim.healthz())?.state).toBe('degraded');
        await arrivedMeanwhile();
        rmSync(filler);
        begun();
      },
    });
    expectAllWritten();
  });

  test('that cannot be written when the service starts: as well', { timeout: FAULT_MS }, async () => {
    const reason = /ERR_JOURNAL_UNAVAILABLE .*cannot be written \(.*(readonly|read-only|EROFS|unable to open)/i;
    await faults.strike({
      name: 'disk read-only at the start (EROFS)',
      strike: async (begun) => {
        await victim.quiet();
        victim.kill('SIGTERM');
        expect(await victim.ended()).toBe(0);
        forbid();
        victim.spawn();
        const { problems } = await victim.untilHealth(({ state }) => state === 'degraded');
        expect(problems.map(({ code, message }) => `${code} ${message}`).join('\n')).toMatch(reason);
        victim.lively();
        await arrivedMeanwhile();
        allow();
        begun();
      },
    });
    expectAllWritten();
  });

  test('whose journal is damaged: it is set aside as it is, and a new one begun', { timeout: FAULT_MS }, async () => {
    let damaged: Buffer = Buffer.alloc(0);
    await faults.strike({
      name: 'journal damaged while the service was down',
      strike: async (begun) => {
        await victim.quiet();
        await victim.ledger.settle(30_000);
        victim.kill('SIGTERM');
        expect(await victim.ended()).toBe(0);
        victim.ledger.beginFile();
        damaged = damage(victim.journalFile);
        begun();
        await victim.start();
        victim.lively();
      },
    });
    const folder = dirname(victim.journalFile);
    const aside = readdirSync(folder).filter((name) => /\.damaged-[^/]*Z$/.test(name));
    expect(aside).toHaveLength(1);
    expect(readFileSync(join(folder, aside[0]!)).equals(damaged)).toBe(true);
    expect(victim.log).toContain(`was damaged: it was moved to ${join(folder, aside[0]!)}`);
  });

  /** What was told while nothing could be written is in the journal by now. */
  function expectAllWritten(): void {
    victim.ledger.collect();
    expect([...victim.ledger.seen.keys()].filter((key) => key.startsWith('q-') && isKept(key))).toEqual([]);
  }
  const isKept = (key: string): boolean =>
    victim.ledger.answers.get(key)?.status === 'ok' && !victim.ledger.accepted.has(key);
});

/** Until not a byte more fits. */
function fill(file: string): void {
  for (let blockBytes = 2 ** 20; blockBytes >= 1; blockBytes = Math.floor(blockBytes / 4)) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(blockBytes, 1), { flag: 'a' });
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    }
  }
}

/** As a power cut may leave it: pages of something else, and a log that is none. @returns the content */
function damage(file: string): Buffer {
  const bytes = readFileSync(file);
  for (let at = 0; at < bytes.length; at += 4_096) bytes.fill(0x5a, at, Math.min(at + 2_048, bytes.length));
  writeFileSync(file, bytes);
  const log = `${file}-wal`;
  if (existsSync(log)) writeFileSync(log, Buffer.alloc(statSync(log).size, 0x5a));
  return bytes;
}

describe('a machine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'scenebus-clock-'));
  const shiftFile = join(folder, 'shift');
  beforeAll(async () => {
    const shim = join(packageRoot(), 'test', 'support', 'fault', 'shifted-clock.mjs');
    await begin({ environment: { NODE_OPTIONS: `--import=${shim}`, CLOCK_SHIFT_FILE: shiftFile } });
  }, FAULT_MS);
  afterAll(async () => {
    await end();
    rmSync(folder, { recursive: true });
  });

  test.each([
    ['a year ahead', 365 * 24 * HOUR_MS],
    ['back to before it started', -24 * HOUR_MS],
    ['right again', 0],
  ])(
    'whose clock is set %s: what waits for the broker is not too old',
    { timeout: FAULT_MS },
    async (what, shiftMs) => {
      const { droppedExpired, eventsDroppedExpired } = victim.ledger.last.get('health').metrics;
      const { seq } = victim.ledger.last.get('health');
      await faults.strike({
        name: `clock set ${what} while the broker is away`,
        reason: /ERR_BUS_UNREACHABLE/,
        strike: async (begun) => {
          const said = victim.untilSaid(/ERR_BUS_UNREACHABLE/);
          // Asked and accepted, and the answer has nowhere to go.
          victim.proxy.hold();
          await sleep(500);
          victim.proxy.close();
          await said;
          writeFileSync(shiftFile, String(shiftMs));
          await sleep(500);
          victim.proxy.open();
          begun();
        },
        isWell: () => {
          const { ts, seq: now } = victim.ledger.last.get('health');
          return now > seq && Math.abs(Date.parse(ts) - Date.now() - shiftMs) < HOUR_MS;
        },
      });
      expect(victim.ledger.last.get('health').metrics).toMatchObject({ droppedExpired, eventsDroppedExpired });
    },
  );

  test('whose memory does not suffice for the model: why is visible, and it is loaded when it does', {
    timeout: FAULT_MS,
  }, async () => {
    const reason = /ERR_ENGINE_(DIED|OUT_OF_MEMORY)/;
    await faults.strike({
      name: 'model process may have no more memory (RLIMIT_AS), from its start on',
      reason,
      strike: async (begun) => {
        const old = await victim.untilPidOf('model');
        process.kill(old, 'SIGKILL');
        await victim.until(() => ![undefined, old].includes(victim.pidOf('model')));
        const starved = victim.pidOf('model')!;
        // What it has by now, and not a page more: loading fails.
        execFileSync('prlimit', ['--pid', String(starved), '--as=1048576']);
        const logged = victim.log.length;
        await victim.until(() => ![undefined, starved].includes(victim.pidOf('model')));
        expect(victim.log.slice(logged)).not.toBe('');
        begun();
      },
    });
  });
});
