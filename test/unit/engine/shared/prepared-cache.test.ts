import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { SdkError } from '#sdk/core/errors.js';
import type { Logger } from '#sdk/core/logger.js';
import { ProcessLock } from '#sdk/core/process-lock.js';
import {
  defaultCacheDirectory,
  type PrepareFolderOptions,
  type PrepareOptions,
  preparedFiles,
  preparedFolder,
} from '#sdk/engine/shared/prepared-cache.js';
import { temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

function cacheIn(directory: string, more: Partial<PrepareOptions> = {}) {
  const options: PrepareOptions = { cacheDirectory: directory, kind: 'test', key: ['model', 1], ...more };
  let builds = 0;
  const prepare = (content = 'graph', other: Partial<PrepareOptions> = {}) =>
    preparedFiles({ ...options, ...other }, () => {
      builds++;
      return { 'a.bin': Buffer.from(content), 'b.bin': Buffer.from('second') };
    });
  const text = async (files: ReturnType<typeof prepare>) => Buffer.from((await files)['a.bin']!).toString();
  const root = path.join(directory, 'test');
  const entry = () => path.join(root, readdirSync(root).find((name) => /^[0-9a-f]{32}$/.test(name))!);
  return { prepare, text, root, entry, builds: () => builds };
}

test('builds once, then reads', async () => {
  const cache = cacheIn(temporaryFolder());
  expect(await cache.text(cache.prepare('first'))).toBe('first');
  expect(await cache.text(cache.prepare('second'))).toBe('first');
  expect(cache.builds()).toBe(1);
  expect(readdirSync(cache.root)).toHaveLength(1); // neither lock nor draft stays
});

test('another key is another entry', async () => {
  const cache = cacheIn(temporaryFolder());
  await cache.prepare('first');
  expect(await cache.text(cache.prepare('second', { key: ['model', 2] }))).toBe('second');
  expect(readdirSync(cache.root)).toHaveLength(2);
});

describe('a damaged entry is built again', () => {
  test.each<[string, (entry: string) => void]>([
    ['a file changed', (entry) => writeFileSync(path.join(entry, 'a.bin'), 'grapH')],
    ['a file cut', (entry) => writeFileSync(path.join(entry, 'a.bin'), 'gr')],
    ['a file missing', (entry) => rmSync(path.join(entry, 'b.bin'))],
    ['no index', (entry) => rmSync(path.join(entry, 'prepared.json'))],
    ['an index that is not JSON', (entry) => writeFileSync(path.join(entry, 'prepared.json'), '{"key":')],
    [
      'an index of something else',
      (entry) => writeFileSync(path.join(entry, 'prepared.json'), '{"key":"x","files":{}}'),
    ],
    [
      'an empty folder',
      (entry) => {
        rmSync(entry, { recursive: true });
        mkdirSync(entry);
      },
    ],
  ])('%s', async (_, damage) => {
    const cache = cacheIn(temporaryFolder());
    await cache.prepare();
    damage(cache.entry());
    expect(await cache.text(cache.prepare('again'))).toBe('again');
    expect(await cache.text(cache.prepare('third'))).toBe('again');
    expect(cache.builds()).toBe(2);
  });
});

test('callers at the same time build once', async () => {
  const cache = cacheIn(temporaryFolder());
  const all = await Promise.all(Array.from({ length: 6 }, () => cache.text(cache.prepare())));
  expect(new Set(all)).toEqual(new Set(['graph']));
  expect(cache.builds()).toBe(1);
});

describe('locks', () => {
  async function placeOfLock() {
    const cache = cacheIn(temporaryFolder());
    await cache.prepare();
    const entry = cache.entry();
    rmSync(entry, { recursive: true });
    return { cache, lock: `${entry}.lock`, entry };
  }
  async function heldHere() {
    const place = await placeOfLock();
    const held = await ProcessLock.acquire(place.lock, { locked: () => new Error('no') });
    return { ...place, held };
  }
  const gone = { pid: 2 ** 22 + 1, host: os.hostname(), boot: '', started: '', run: '' };

  test('of a living process: typed error after the wait, with the file to delete', async () => {
    const { cache, lock } = await heldHere();
    const waiting = cache.prepare('x', { lockTimeoutMs: 120 });
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_PREPARE_LOCKED', details: { lockFile: lock } });
    expect(cache.builds()).toBe(1);
  });

  test('released while waiting', async () => {
    const { cache, held } = await heldHere();
    const waiting = cache.text(cache.prepare('own', { lockTimeoutMs: 30_000 }));
    await held[Symbol.asyncDispose]();
    expect(await waiting).toBe('own');
  });

  test('of a process that is gone', async () => {
    const { cache, lock } = await placeOfLock();
    writeFileSync(lock, JSON.stringify(gone));
    expect(await cache.text(cache.prepare('x', { lockTimeoutMs: 30_000 }))).toBe('x');
  });

  test('of another host that has not renewed it for minutes', async () => {
    const { cache, lock } = await placeOfLock();
    writeFileSync(lock, JSON.stringify({ ...gone, pid: 1, host: 'elsewhere' }));
    await expect(cache.prepare('x', { lockTimeoutMs: 0 })).rejects.toMatchObject({ code: 'ERR_PREPARE_LOCKED' });
    const before = new Date(Date.now() - 130_000);
    utimesSync(lock, before, before);
    expect(await cache.text(cache.prepare('x', { lockTimeoutMs: 30_000 }))).toBe('x');
  });

  test('cannot be written to a full disk, and do not stay there', async () => {
    const folder = temporaryFolder();
    const module = fileURLToPath(new URL('../../../../dist/sdk/engine/shared/prepared-cache.js', import.meta.url));
    const program = `
      import { preparedFiles } from ${JSON.stringify(module)};
      const warnings = [];
      const logger = { log: (_, message) => warnings.push(message) };
      const options = { cacheDirectory: ${JSON.stringify(folder)}, kind: 'test', key: [], logger, lockTimeoutMs: 100 };
      for (let start = 0; start < 2; start++) await preparedFiles(options, () => ({ 'a.bin': Buffer.from('graph') }));
      console.log(JSON.stringify(warnings));`;
    // Files can be made, but nothing can be written into them.
    const command = 'ulimit -f 0; exec "$0" --input-type=module --eval "$1"';
    const { stdout } = await promisify(execFile)('bash', ['-c', command, process.execPath, program]);
    expect(JSON.parse(stdout)).toEqual(Array(2).fill(expect.stringMatching(/could not be kept/)));
    expect(readdirSync(path.join(folder, 'test'))).toEqual([]);
  });

  test('waiting ends with the signal', async () => {
    const { cache } = await heldHere();
    const controller = new AbortController();
    const waiting = cache.prepare('x', { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });
});

test('a cache that cannot be written costs a warning', async () => {
  const folder = temporaryFolder();
  writeFileSync(path.join(folder, 'file'), '');
  const warnings: string[] = [];
  const logger: Logger = { log: (level, message) => void warnings.push(`${level}: ${message}`) };
  const cache = cacheIn(path.join(folder, 'file', 'below'), { logger });
  expect(await cache.text(cache.prepare('in memory'))).toBe('in memory');
  expect(warnings).toEqual([expect.stringMatching(/^warn: .*could not be kept/)]);
});

test('the longest unused entries and old drafts go', async () => {
  const cache = cacheIn(temporaryFolder());
  const age = (name: string, hours: number) => {
    const then = new Date(Date.now() - hours * 3_600_000);
    utimesSync(path.join(cache.root, name), then, then);
  };
  const names: string[] = [];
  for (let i = 0; i < 16; i++) {
    await cache.prepare(`${i}`, { key: [i] });
    names.push(readdirSync(cache.root).find((name) => !names.includes(name))!);
    age(names[i]!, 20 - i);
  }
  await cache.prepare('used', { key: [0] }); // the oldest is used again
  mkdirSync(path.join(cache.root, 'old.tmp'));
  age('old.tmp', 1);
  mkdirSync(path.join(cache.root, 'new.tmp'));
  const [busy, stopped] = ['f'.repeat(32), 'e'.repeat(32)];
  for (const name of [`${busy}.1.tmp`, `${stopped}.1.tmp`, `${stopped}.lock`, `${stopped}.lock-1`]) {
    writeFileSync(path.join(cache.root, name), '');
    age(name, 1);
  }
  writeFileSync(path.join(cache.root, `${busy}.lock`), ''); // renewed just now
  await cache.prepare('one more', { key: [16] });
  const left = readdirSync(cache.root);
  expect(left).toHaveLength(20);
  expect(left).toEqual(expect.arrayContaining([`${busy}.1.tmp`, `${busy}.lock`, `${stopped}.lock`]));
  expect(left).toContain(names[0]);
  expect(left).not.toContain(names[1]);
  expect(left).toContain('new.tmp');
  expect(left).not.toContain('old.tmp');
});

test('an error of the build leaves no lock', async () => {
  const folder = temporaryFolder();
  const options: PrepareOptions = { cacheDirectory: folder, kind: 'test', key: [] };
  const failing = preparedFiles(options, () => {
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(readdirSync(path.join(folder, 'test'))).toEqual([]);
});

test('the default folder follows XDG_CACHE_HOME', () => {
  const before = process.env.XDG_CACHE_HOME;
  try {
    process.env.XDG_CACHE_HOME = '/tmp/xdg';
    expect(defaultCacheDirectory()).toBe('/tmp/xdg/scenebus');
    process.env.XDG_CACHE_HOME = 'relative';
    expect(defaultCacheDirectory()).toBe(path.join(os.homedir(), '.cache', 'scenebus'));
    delete process.env.XDG_CACHE_HOME;
    expect(defaultCacheDirectory()).toBe(path.join(os.homedir(), '.cache', 'scenebus'));
  } finally {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  }
});

test('the index says what lies beside it', async () => {
  const cache = cacheIn(temporaryFolder());
  await cache.prepare();
  const index = JSON.parse(readFileSync(path.join(cache.entry(), 'prepared.json'), 'utf8'));
  expect(index.key).toBe(path.basename(cache.entry()));
  expect(Object.keys(index.files)).toEqual(['a.bin', 'b.bin']);
});

describe('folders of large files', () => {
  function folderIn(directory: string) {
    const warnings: string[] = [];
    const logger: Logger = { log: (_, message) => warnings.push(message) };
    const root = path.join(directory, 'large');
    const prepare = (fill: (draft: string) => void, more: Partial<PrepareFolderOptions> = {}) => {
      const options = { cacheDirectory: directory, kind: 'large', key: ['model'], sizeBytes: 1, logger, ...more };
      return preparedFolder(options, async (draft) => fill(draft));
    };
    return { prepare, warnings, root };
  }
  const write = (content: string) => (draft: string) => writeFileSync(path.join(draft, 'weights.bin'), content);

  test('are filled once, and again when a size is not what it was', async () => {
    const { prepare, warnings } = folderIn(temporaryFolder());
    const entry = (await prepare(write('first')))!;
    const file = path.join(entry, 'weights.bin');
    expect(await prepare(write('second'))).toBe(entry);
    expect(readFileSync(file, 'utf8')).toBe('first');
    writeFileSync(file, 'firs');
    expect(await prepare(write('third'))).toBe(entry);
    expect(readFileSync(file, 'utf8')).toBe('third');
    expect(warnings).toEqual([]);
  });

  test('are not begun without room for them', async () => {
    const { prepare, warnings, root } = folderIn(temporaryFolder());
    const filled = prepare(() => expect.unreachable(), { sizeBytes: 2 ** 50 });
    expect(await filled).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(/1125899906842624 bytes are needed, \d+ are free/)]);
    expect(readdirSync(root)).toEqual([]);
  });

  test('leave nothing behind when the disk fails in the middle', async () => {
    const { prepare, warnings, root } = folderIn(temporaryFolder());
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    const filled = prepare((draft) => {
      write('half')(draft);
      throw full;
    });
    expect(await filled).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining('no space left on device')]);
    expect(readdirSync(root)).toEqual([]);
  });

  test('pass on what went wrong for another reason, and an abort', async () => {
    const { prepare, root } = folderIn(temporaryFolder());
    const error = new SdkError('ERR_ENGINE_FAILED', 'the graph is wrong');
    const fails = (thrown: unknown, signal?: AbortSignal) =>
      prepare(
        () => {
          throw thrown;
        },
        { signal },
      );
    await expect(fails(error)).rejects.toBe(error);
    const controller = new AbortController();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(fails(reason, controller.signal)).rejects.toBe(reason);
    expect(readdirSync(root)).toEqual([]);
  });
});
