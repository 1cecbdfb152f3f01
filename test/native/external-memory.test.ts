/** What decoders, caches and images hold is told to the garbage collector, which sees no more of them than a pointer. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { openCpuDecoder } from '#sdk/engine/cpu/decoder.js';
import { engineAddon } from '#sdk/native/index.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const jobsAddon = fileURLToPath(new URL('../../native/build/native/scenebus_jobs_test.node', import.meta.url));
/** What V8 was told of in this thread. Node's `process.memoryUsage().external` has only its buffers. */
const externalBytes: () => number = createRequire(import.meta.url)(jobsAddon).externalBytes;
const addon = engineAddon();
const tinyA = path.join(GOLDEN, 'tiny-a');

const folder = mkdtempSync(path.join(realpathSync(tmpdir()), 'scenebus-external-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Bytes that a release gives back. Measured within one turn of JavaScript: buffers come and go in between. */
function released(handle: Parameters<typeof addon.releaseCpuHandle>[0]): number {
  const before = externalBytes();
  addon.releaseCpuHandle(handle);
  return before - externalBytes();
}

test('an image counts what it takes, until it is released', async () => {
  const decoder = await openCpuDecoder(await openCheckpoint(tinyA), {
    numerics: 'meta',
    contextLength: 64,
    threads: 1,
  });
  const features = new Float32Array(64 * 1000).fill(0.5);
  const { handle, sizeBytes } = await addon.encodeCpuImage(decoder.handle, features, 1000, new Int32Array(1));
  expect(sizeBytes).toBeGreaterThan(100_000);
  expect(released(handle)).toBe(sizeBytes);
  expect(released(handle)).toBe(0);
});

test('a sequence counts what its tokens take, not the context that it could hold', async () => {
  const decoder = await openCpuDecoder(await openCheckpoint(tinyA), {
    numerics: 'meta',
    contextLength: 2 ** 20,
    threads: 2,
  });
  const append = (sequence: ReturnType<typeof addon.createCpuSequence>, count: number) => {
    const tokens = new Int32Array(count).fill(1);
    const none = new Int32Array(0);
    return addon.forwardCpu(
      decoder.handle,
      sequence,
      tokens,
      [],
      none,
      'last',
      new Float32Array(512),
      new Int32Array(1),
    );
  };
  const create = () => addon.createCpuSequence(decoder.handle);
  const [empty, short, long, cut, busy] = [create(), create(), create(), create(), create()];
  expect(released(empty)).toBe(0);

  await append(short, 10);
  const perToken = released(short) / 10;
  expect(perToken).toBeGreaterThan(0);

  await append(long, 10);
  await append(long, 20);
  expect(released(long)).toBe(30 * perToken);

  await append(cut, 30);
  addon.truncateCpuSequence(cut, 5);
  await append(cut, 1);
  expect(released(cut)).toBe(30 * perToken); // its pages stay

  await append(busy, 10);
  const last = append(busy, 500);
  expect(released(busy)).toBe(10 * perToken);
  await last;
  expect(released(busy)).toBe(0);
});

test('a decoder counts packed weights that are in memory, not those of a mapped file', async () => {
  const { int4 } = makeInt4Checkpoint(tinyA, folder, 64);
  const checkpoint = await openCheckpoint(int4);
  const options = { numerics: 'meta', contextLength: 64, threads: 1 } as const;
  const noFolder = path.join(int4, 'config.json', 'cache');
  const inMemory = await openCpuDecoder(checkpoint, { ...options, cacheDirectory: noFolder });
  expect(inMemory.packed).toBe('memory');
  const mapped = await openCpuDecoder(checkpoint, { ...options, cacheDirectory: path.join(folder, 'cache') });
  expect(mapped.packed).toBe('created');
  expect(released(inMemory.handle)).toBeGreaterThan(50_000);
  expect(released(mapped.handle)).toBe(0);
});
