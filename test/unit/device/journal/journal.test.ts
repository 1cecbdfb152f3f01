import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SdkError } from 'scenebus';
import { describe, expect, test } from 'vitest';
import type { AnyDeviceEvent } from '#device/events/events.js';
import { Journal, type JournalOptions } from '#device/journal/journal.js';
import { JournalStore } from '#device/journal/store.js';
import { until } from '../../../support/brokers.js';
import { fakeAnswer, fakeFrame } from '../../../support/device-fakes.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

function event(number: number, text = `answer ${number}`): AnyDeviceEvent {
  const frame = { id: `cam-${number}`, capturedAtMs: number, width: 64, height: 48 };
  const body = {
    verb: 'ask',
    question: 'What is there?',
    answer: fakeAnswer(text),
    model: { id: 'fake' },
    error: null,
  };
  return { id: `run-${String(number).padStart(9, '0')}`, kind: 'answer', atMs: Date.now(), camera: 'cam', frame, body };
}

const LIMITS = { maxAgeMs: 1e12, maxBytes: 1e9 };
const OUTLET = { maxEvents: 1_000, maxBytes: 1e9, maxAgeMs: 1e9 };

async function newFile(): Promise<string> {
  return join(await makeTemporaryFolder('scenebus-journal-'), 'journal.db');
}

/** A journal that tries again at once, and what it says of its health. */
async function open(file: string | undefined, more: Partial<JournalOptions> = {}) {
  const health: (SdkError | undefined)[] = [];
  const waiters: (() => void)[] = [];
  const journal = await Journal.open({
    file,
    limits: LIMITS,
    backoff: { initialMs: 5, maximumMs: 10 },
    onHealth: (error) => {
      health.push(error);
      for (const wake of waiters.splice(0)) wake();
    },
    ...more,
  });
  const until = async (fits: () => boolean) => {
    while (!fits()) await new Promise<void>((resolve) => waiters.push(resolve));
  };
  return { journal, health, until };
}

const bodies = async (journal: Pick<Journal, 'query'>) => {
  const { events } = await journal.query({ order: 'oldest-first', limit: 1_000 });
  return events.map(({ body }) => (body as { answer: { text: string } }).answer.text);
};

describe('the journal', () => {
  test('has an event on the disk before it says so, and many of one moment in one transaction', async () => {
    const file = await newFile();
    const { journal, health } = await open(file);
    const order: number[] = [];
    const all = Array.from({ length: 50 }, (_, n) => journal.record(event(n)).then(() => order.push(n)));
    await all[0];
    const reader = await Journal.openReadOnly(file);
    expect((await reader.query({})).events.length).toBeGreaterThan(0);
    await reader[Symbol.asyncDispose]();
    await Promise.all(all);
    expect(order).toEqual(Array.from({ length: 50 }, (_, n) => n));
    await journal[Symbol.asyncDispose]();
    expect(existsSync(`${file}-wal`)).toBe(false); // closed for certain
    expect(health).toEqual([]);
  });

  test('is found by words, kinds and frames, with the event’s body as it was emitted', async () => {
    const { journal } = await open(undefined);
    await journal.record(event(1, 'A red cup'));
    const { frame, body: _body, ...rest } = event(2);
    const scene = {
      answer: fakeAnswer('A dog'),
      model: { id: 'fake' },
      frame: fakeFrame(2),
      trigger: 'change' as const,
    };
    await journal.record({ ...rest, frame, kind: 'scene', body: scene } as AnyDeviceEvent);
    await journal.record({ ...rest, id: 'run-3', frame, kind: 'health', body: {} } as AnyDeviceEvent);
    const { events } = await journal.query({ text: 'dog' });
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({
      kind: 'scene',
      run: 'run',
      body: { trigger: 'change', answer: { text: 'A dog' } },
    });
    expect(JSON.stringify(events)).not.toContain('data'); // no pixels
    expect((await journal.query({ text: 'cup what' })).events).toHaveLength(1);
    expect((await journal.query({})).events).toHaveLength(2);
    await expect(journal.query({ limit: 0 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    await journal[Symbol.asyncDispose]();
  });

  test('keeps the pictures of frames where that is wanted', async () => {
    const { journal } = await open(undefined, { encodeJpeg: async (frame) => frame.data.subarray(0, 3) });
    const frame = fakeFrame(7, 9);
    await journal.record({ ...event(1), kind: 'frame', body: { frame } } as AnyDeviceEvent);
    await new Promise((resolve) => setImmediate(resolve));
    await journal.flush();
    expect(await journal.frame('cam-7')).toMatchObject({
      run: 'run',
      width: 64,
      height: 48,
      jpeg: new Uint8Array([9, 9, 9]),
    });
    expect(await journal.frame('cam-8')).toBeUndefined();
    await journal[Symbol.asyncDispose]();
  });

  test('remembers what a sink was not given, over a restart, in order and marked', async () => {
    const file = await newFile();
    {
      const { journal } = await open(file);
      const outlet = await journal.openOutlet('mqtt', ['answer'], OUTLET);
      for (const n of [1, 2, 3, 4]) await journal.record(event(n));
      const first = outlet.take();
      const second = outlet.take();
      expect(first?.mayBeRepeated).toBe(false);
      outlet.done(first!.record);
      outlet.done(second!.record);
      await journal[Symbol.asyncDispose]();
    }
    const { journal } = await open(file);
    const outlet = await journal.openOutlet('mqtt', ['answer'], OUTLET);
    await journal.record(event(5));
    const ids = [outlet.take(), outlet.take(), outlet.take()].map((taken) => [
      taken?.record.id.at(-1),
      taken?.mayBeRepeated,
    ]);
    expect(ids).toEqual([
      ['3', true],
      ['4', true],
      ['5', false],
    ]);
    expect(journal.metrics).toMatchObject({ eventsPending: 3, eventsDelivered: 0 });
    await journal[Symbol.asyncDispose]();
  });

  test('writes how far a sink has got with the next event, and without one a little later', async () => {
    const file = await newFile();
    const { journal } = await open(file);
    const outlet = await journal.openOutlet('mqtt', ['answer'], OUTLET);
    const cursor = () => {
      using reader = new JournalStore({ file, isReadOnly: true });
      return reader.cursor('mqtt');
    };
    const before = cursor();
    const giveOne = () => outlet.done(outlet.take()!.record);
    await journal.record(event(1));
    giveOne();
    await new Promise((resolve) => setImmediate(resolve));
    expect(cursor()).toBe(before); // no transaction of its own, which the next answer would have to wait for
    await journal.record(event(2));
    expect(cursor()).toBe(1);
    giveOne();
    await until(() => cursor() === 2);
    // One that moves while a transaction runs is not forgotten.
    const recorded = journal.record(event(3));
    const third = journal.record(event(4));
    await recorded;
    giveOne();
    await third;
    giveOne();
    await until(() => cursor() === 4);
    await journal[Symbol.asyncDispose]();
  });

  test('does not let one sink hold up another, nor the log', async () => {
    const { journal } = await open(undefined);
    const slow = await journal.openOutlet('slow', ['answer'], { ...OUTLET, maxEvents: 2 });
    const fast = await journal.openOutlet('fast', ['answer'], OUTLET);
    for (const n of [1, 2, 3, 4]) {
      await journal.record(event(n));
      fast.done(fast.take()!.record);
    }
    expect(fast.length).toBe(0);
    expect(slow.length).toBe(2);
    expect(journal.metrics).toMatchObject({ eventsDelivered: 4, eventsDroppedQueueFull: 2 });
    expect((await journal.query({})).events).toHaveLength(4);
    await journal[Symbol.asyncDispose]();
  });

  test('can be read from beside', async () => {
    const file = await newFile();
    const { journal } = await open(file);
    await journal.record(event(1));
    const reader = await Journal.openReadOnly(file);
    expect(await bodies(reader)).toEqual(['answer 1']);
    await reader[Symbol.asyncDispose]();
    await journal[Symbol.asyncDispose]();
    await expect(Journal.openReadOnly(`${file}-other`)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  });
});

describe('a disk in trouble', () => {
  test('that is not there at first: events are told of all the same, and written when it comes', async () => {
    const folder = await makeTemporaryFolder('scenebus-journal-');
    writeFileSync(join(folder, 'place'), 'a file where the folder should be');
    const file = join(folder, 'place', 'journal.db');
    const { journal, health, until } = await open(file);
    expect(health[0]).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE', retryable: true });
    const outlet = await journal.openOutlet('mqtt', ['answer'], OUTLET);
    await journal.record(event(1));
    await journal.record(event(2));
    expect(outlet.take()?.record.id).toBe('run-000000001');
    expect(journal.metrics).toMatchObject({ journalUnwritten: 2, eventsPending: 2 });
    rmSync(join(folder, 'place'));
    await until(() => health.at(-1) === undefined);
    expect(await bodies(journal)).toEqual(['answer 1', 'answer 2']);
    expect(journal.metrics.journalUnwritten).toBe(0);
    expect(outlet.length).toBe(2); // not given twice
    await journal[Symbol.asyncDispose]();
  });

  test('that spoils the file: it is set aside, nothing is deleted, and a new one goes on', async () => {
    const file = await newFile();
    {
      const { journal } = await open(file);
      for (let n = 0; n < 300; n++) void journal.record(event(n));
      await journal.flush();
      await journal[Symbol.asyncDispose]();
    }
    const bytes = readFileSync(file);
    bytes.fill(0x5a, 4_096); // the first page is fine
    writeFileSync(file, bytes);
    const { journal, health, until } = await open(file);
    await journal.openOutlet('mqtt', ['answer'], OUTLET);
    await journal.record(event(1_000));
    await until(() => health.length === 0 || health.at(-1) === undefined);
    await journal.flush();
    expect(await bodies(journal)).toEqual(['answer 1000']);
    const aside = readdirSync(dirname(file)).find((name) => name.includes('.damaged-'));
    expect(
      readFileSync(join(dirname(file), aside!))
        .subarray(4_096)
        .equals(bytes.subarray(4_096)),
    ).toBe(true);
    await journal[Symbol.asyncDispose]();
  });

  test('that takes for ever: nobody waits for it longer than its patience', async () => {
    const file = await newFile();
    const { journal, health } = await open(file, { patienceMs: 20 });
    // Another program holds the write lock; SQLite waits for it, and with it the journal's thread.
    using other = new JournalStore({ file });
    const database = (await import('@photostructure/sqlite')).DatabaseSync;
    const holder = new database(file);
    holder.exec('BEGIN IMMEDIATE');
    await journal.record(event(1));
    expect(health[0]?.message).toMatch(/no answer from the disk for 20 ms/);
    holder.exec('ROLLBACK');
    holder.close();
    expect(other.query({}).events.length).toBeLessThanOrEqual(1);
    await journal[Symbol.asyncDispose]();
  });

  const mounted = mountSmallDisk();
  test.skipIf(mounted === undefined)(
    'that is full, then read-only: degraded meanwhile, and back by itself',
    async () => {
      const folder = mounted!;
      try {
        const file = join(folder, 'journal.db');
        const { journal, health, until } = await open(file);
        await journal.record(event(1));
        const ballast = join(folder, 'ballast');
        try {
          writeFileSync(ballast, Buffer.alloc(4 * 2 ** 20));
        } catch {
          // as much as there was room for
        }
        // Large enough to need pages that are not there.
        await journal.record(event(2, 'x'.repeat(200_000)));
        expect(health.at(-1)).toMatchObject({ code: 'ERR_DISK_FULL' });
        await journal.record(event(3)); // told of at once
        rmSync(ballast);
        await until(() => health.at(-1) === undefined);
        expect((await bodies(journal)).length).toBe(3);

        await journal[Symbol.asyncDispose]();

        execFileSync('mount', ['-o', 'remount,ro', folder]);
        const again = await open(file);
        expect(again.health.at(-1)).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
        await again.journal.record(event(4));
        execFileSync('mount', ['-o', 'remount,rw', folder]);
        await again.until(() => again.health.at(-1) === undefined);
        await again.journal.record(event(5));
        const texts = (await bodies(again.journal)).filter((text) => text.length < 20);
        expect(texts).toEqual([1, 3, 4, 5].map((n) => `answer ${n}`));
        await again.journal[Symbol.asyncDispose]();
      } finally {
        execFileSync('umount', ['-l', folder]);
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );
});

/** A disk of two megabytes; undefined where this user may not mount one. */
function mountSmallDisk(): string | undefined {
  const folder = `/tmp/scenebus-small-disk-${process.pid}`;
  try {
    mkdirSync(folder, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'scenebus-test', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    return undefined;
  }
}

describe('a journal that another service uses', () => {
  test('is refused with what to do, can be read beside it, and is free when the other ends', async () => {
    const file = await newFile();
    const { journal } = await open(file);
    await journal.record(event(1));
    const second = open(file);
    await expect(second).rejects.toMatchObject({ code: 'ERR_JOURNAL_LOCKED', retryable: true });
    await expect(second).rejects.toThrow(/Stop it, or give this device another name/);
    // The one that has it was not disturbed.
    await journal.record(event(2));
    const reader = await Journal.openReadOnly(file);
    expect(await bodies(reader)).toEqual(['answer 1', 'answer 2']);
    await reader[Symbol.asyncDispose]();
    await journal[Symbol.asyncDispose]();
    const { journal: third, health } = await open(file);
    expect(await bodies(third)).toEqual(['answer 1', 'answer 2']);
    expect(health).toEqual([]);
    await third[Symbol.asyncDispose]();
  });

  test('is free at once when the other is killed', async () => {
    const file = await newFile();
    const code = `import { Journal } from '#device/journal/journal.js';
      await Journal.open({ file: ${JSON.stringify(file)}, limits: { maxAgeMs: 1e12, maxBytes: 1e9 } });
      console.log('open');
      setInterval(() => {}, 1e6);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    await expect(open(file)).rejects.toMatchObject({ code: 'ERR_JOURNAL_LOCKED' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const { journal, health } = await open(file);
    await journal.record(event(1));
    expect(health).toEqual([]);
    await journal[Symbol.asyncDispose]();
  });
});

describe('a sink that is switched off', () => {
  test('holds no events back, and begins with what comes when it is switched on again', async () => {
    const { journal } = await open(await newFile());
    await journal.openOutlet('guest', ['answer'], OUTLET);
    await journal.record(event(1));
    await journal.forgetOutlet('guest');
    await journal.record(event(2));
    const again = await journal.openOutlet('guest', ['answer'], OUTLET);
    expect(again.length).toBe(0);
    await journal.record(event(3));
    expect(again.take()?.record.id).toBe(event(3).id);
    await journal[Symbol.asyncDispose]();
  });
});
