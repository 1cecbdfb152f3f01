import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dataSetArchive } from '#device/journal/data-set-archive.js';
import { writeDataSet } from '#device/journal/export.js';
import type { JournalEvent } from '#device/journal/query.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-archive-'));
});
afterEach(() => rm(folder, { recursive: true }));

function answer(number: number, frameId: string): JournalEvent {
  const frame = { id: frameId, capturedAtMs: number, width: 64, height: 48 };
  const body = {
    question: `Question ${number}?`,
    answer: { text: 'é '.repeat(number * 100) },
    model: { id: 'llama-x' },
  };
  return { id: `run-${number}`, run: 'run', kind: 'answer', atMs: number, camera: 'cam', frame, body };
}

/** Frame ids that need a name of more than a hundred bytes, and pictures of every length around a block of tar. */
const events = [0, 1, 2, 3, 4].map((number) =>
  answer(number, number < 3 ? `cam-${number}` : `${'c'.repeat(120)}-${number}`),
);
events.push({ ...answer(5, 'cam-0'), id: 'run-5' }, answer(6, 'gone'));
const journal = {
  query: async () => ({ events, cursor: null }),
  frame: async (id: string) => {
    if (id === 'gone') return undefined;
    const jpeg = new Uint8Array(510 + Number(id.split('-')[1])).fill(65);
    return { id, run: 'run', camera: 'cam', atMs: 0, width: 64, height: 48, jpeg };
  },
};

async function tree(of: string): Promise<Record<string, string>> {
  const files = (await readdir(of, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const read = files.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return [path.slice(of.length + 1), await readFile(path, 'latin1')] as const;
  });
  return Object.fromEntries((await Promise.all(read)).sort(([a], [b]) => a.localeCompare(b)));
}

test('the archive unpacks to the very data set that is written to a folder', async () => {
  await writeDataSet(journal, {}, join(folder, 'written'), { name: 'kitchen' });
  const chunks: Uint8Array[] = [];
  for await (const chunk of dataSetArchive(journal, {}, { name: 'kitchen', nowMs: 1.7e12 })) chunks.push(chunk);
  const file = join(folder, 'set.tar');
  await writeFile(file, Buffer.concat(chunks));
  await promisify(execFile)('tar', ['-xf', file, '-C', folder]);
  const unpacked = await tree(join(folder, 'data-set'));
  expect(unpacked).toEqual(await tree(join(folder, 'written')));
  expect(Object.keys(unpacked)).toHaveLength(7);
  expect(unpacked['README.md']).toMatch(/^# Llama-kitchen\n\n6 pictures/);
});

test('what waits on the disk is gone when the reader leaves', async () => {
  const before = (await readdir(tmpdir())).filter((name) => name.startsWith('scenebus-data-set-'));
  for await (const chunk of dataSetArchive(journal, {}, { name: 'kitchen', nowMs: 0 })) if (chunk.length > 0) break;
  const after = (await readdir(tmpdir())).filter((name) => name.startsWith('scenebus-data-set-'));
  expect(after).toEqual(before);
});
