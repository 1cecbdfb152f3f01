/**
 * A file that says which process is at work. It survives kills, full disks and restarts: the next process sees that
 * its owner is gone and takes over. Somebody who is slow may lose it to another, so it saves work; it does not make
 * writing safe.
 */
import { randomUUID } from 'node:crypto';
import { constants, copyFile, link, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from './clock.js';
import type { CallOptions } from './types.js';

const POLL_MS = 50;
const RENEW_MS = 20_000;
/** A lock that cannot be read as one is about to be written whole, or never will be. */
const UNREADABLE_AFTER_MS = 10_000;
/** File systems without hard links answer with one of these. */
const NO_LINKS: readonly unknown[] = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /** Of the running system; '' where it is not told. */
  readonly boot: string;
  /** Ticks after boot at which the process began; '' where it is not told. */
  readonly started: string;
  /** Two locks of one process are two owners. */
  readonly run: string;
}

export interface LockOptions extends CallOptions {
  /** How long to wait for another owner. Default 0: not at all. */
  readonly timeoutMs?: number | undefined;
  /**
   * From when on an owner of whom nothing can be known (on another host that shares the disk, in another thread) is
   * gone, if it has not renewed its lock since; then the lock is also renewed while it is held. Default: never.
   */
  readonly abandonedAfterMs?: number | undefined;
  /** What is thrown when another owner keeps it; undefined: one that cannot be told yet. */
  readonly locked: (owner: LockOwner | undefined) => Error;
}

export class ProcessLock implements AsyncDisposable {
  readonly #file: string;
  readonly #text: string;
  readonly #renewal: NodeJS.Timeout | undefined;

  private constructor(file: string, text: string, renewed: boolean) {
    this.#file = file;
    this.#text = text;
    // A process that only waits for this timer may end.
    if (renewed) this.#renewal = setInterval(() => void this.#renew(), RENEW_MS).unref();
  }

  /**
   * @throws whatever `locked` makes, after the wait
   * @throws the signal's reason
   * @throws an error of the file system when the lock cannot be written; nothing of it stays behind
   */
  static async acquire(file: string, options: LockOptions): Promise<ProcessLock> {
    const { timeoutMs = 0, abandonedAfterMs, signal } = options;
    const deadlineMs = systemClock.monotonicMs() + timeoutMs;
    const run = randomUUID();
    const { started } = await lookAt(process.pid);
    const text = JSON.stringify({ pid: process.pid, host: hostname(), boot: await bootId(), started, run });
    // Written beside and linked into place: nobody ever sees half of it, and a full disk leaves no lock.
    const draft = `${file}-${run}`;
    try {
      signal?.throwIfAborted();
      await writeFile(draft, text);
      for (let attempt = 0; ; attempt += 1) {
        signal?.throwIfAborted();
        if (await placed(draft, file)) return new ProcessLock(file, text, abandonedAfterMs !== undefined);
        const found = await readLock(file);
        const gone = found === undefined || (await isGone(found, abandonedAfterMs));
        if (found !== undefined && gone && (await removeGone(file, found.text, draft))) continue;
        // One that is gone, or going, is worth another try.
        if (systemClock.monotonicMs() >= deadlineMs && (!gone || attempt > 10)) throw options.locked(found?.owner);
        await delay(POLL_MS, undefined, { signal }).catch(() => {});
      }
    } finally {
      await rm(draft, { force: true });
    }
  }

  /** Leaves a lock alone that another owner has taken over. What was done under it stands, so nothing is thrown. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#renewal);
    if ((await readLock(this.#file))?.text !== this.#text) return;
    await rm(this.#file, { force: true }).catch(() => {});
  }

  async #renew(): Promise<void> {
    if ((await readLock(this.#file))?.text === this.#text) await touch(this.#file);
  }
}

interface FoundLock {
  readonly text: string;
  readonly ageMs: number;
  readonly owner: LockOwner | undefined;
}

/** undefined: there is none. */
async function readLock(file: string): Promise<FoundLock | undefined> {
  try {
    // Clocks are set after the start of a device: a time far ahead is as old as one far behind.
    const ageMs = Math.abs(Date.now() - (await stat(file)).mtimeMs);
    const text = await readFile(file, 'utf8');
    return { text, ageMs, owner: ownerOf(text) };
  } catch {
    return undefined;
  }
}

function ownerOf(text: string): LockOwner | undefined {
  try {
    const { pid, host, boot, started, run } = JSON.parse(text) as Record<string, unknown>;
    if (!Number.isInteger(pid)) return undefined;
    if (![host, boot, started, run].every((value) => typeof value === 'string')) return undefined;
    return { pid, host, boot, started, run } as LockOwner;
  } catch {
    return undefined;
  }
}

async function isGone({ owner, ageMs }: FoundLock, abandonedAfterMs = Number.POSITIVE_INFINITY): Promise<boolean> {
  if (owner === undefined) return ageMs > UNREADABLE_AFTER_MS;
  if (owner.host !== hostname()) return ageMs > abandonedAfterMs;
  if (differ(owner.boot, await bootId())) return true;
  const other = await lookAt(owner.pid);
  // Process ids are reused: in a restarted container the first process is 1 every time.
  if (!other.running || differ(owner.started, other.started)) return true;
  return owner.pid === process.pid && ageMs > abandonedAfterMs; // a thread that was stopped
}

/** What is not told on one side is no difference. */
function differ(before: string, now: string): boolean {
  return before !== '' && now !== '' && before !== now;
}

async function lookAt(pid: number): Promise<{ readonly running: boolean; readonly started: string }> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return { running: false, started: '' };
  }
  // proc(5), stat: fields 3 and 22, behind a name that may hold spaces and brackets.
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { running: fields[0] !== 'Z', started: fields[19] ?? '' }; // Z: it ended, and its parent has not looked yet
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
}

/** false: somebody else's is there. */
async function placed(draft: string, file: string): Promise<boolean> {
  await touch(draft); // it may have waited for long, and its age becomes the lock's
  try {
    await link(draft, file).catch(async (error: NodeJS.ErrnoException) => {
      if (!NO_LINKS.includes(error.code)) throw error;
      await copyFile(draft, file, constants.COPYFILE_EXCL);
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes the lock of an owner that is gone. One at a time: whoever is slow would otherwise remove the lock that the
 * fast one has placed meanwhile. false: another is at it.
 */
async function removeGone(file: string, text: string, draft: string): Promise<boolean> {
  const guard = `${file}-taken`;
  if (!(await placed(draft, guard))) {
    const held = await readLock(guard);
    if (held !== undefined && held.ageMs > UNREADABLE_AFTER_MS) await rm(guard, { force: true }); // it was killed there
    return false;
  }
  try {
    if ((await readLock(file))?.text === text) await rm(file, { force: true });
    return true;
  } finally {
    await rm(guard, { force: true });
  }
}

async function touch(file: string): Promise<void> {
  const now = new Date();
  await utimes(file, now, now).catch(() => {});
}
