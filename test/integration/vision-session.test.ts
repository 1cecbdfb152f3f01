/** The session of a large vision tower is kept as a file: the same features, and never in the way. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import type { Progress } from '#sdk/core/logger.js';
import type { OpenRequest } from '#sdk/engine/onnx/onnx-protocol.js';
import { CancelFlag } from '#sdk/engine/shared/cancel-flag.js';
import { WorkerChannel } from '#sdk/engine/shared/worker-channel.js';
import { openVisionTower, type VisionTowerOptions } from '#sdk/engine/vision/vision-tower.js';
import { maxDifference, syntheticImage } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-session-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const tinyA = path.join(GOLDEN, 'tiny-a');
const { vision } = (await openCheckpoint(tinyA)).model.architecture;
const image = syntheticImage({ aspectRatioId: 2, numTiles: 2 }, 7, vision.tileSize, vision.maxNumTiles);

interface Opening {
  readonly features: Float32Array;
  readonly phases: readonly string[];
  readonly warnings: readonly string[];
}

/** One start of the tower, as a process makes it. */
async function open(cache: string, more: Partial<VisionTowerOptions> = {}, directory = tinyA): Promise<Opening> {
  const checkpoint = await openCheckpoint(directory);
  const phases: string[] = [];
  const warnings: string[] = [];
  await using tower = await openVisionTower(checkpoint, {
    numerics: 'meta',
    contextLength: 64,
    threads: 1,
    cacheDirectory: path.join(folder, cache),
    keepVisionFromBytes: 0,
    onProgress: ({ phase }: Progress) => phases.push(phase),
    logger: { log: (level, message) => level === 'warn' && warnings.push(message) },
    ...more,
  });
  return { features: await tower.encode(image), phases, warnings };
}

const entries = (cache: string) => {
  const root = path.join(folder, cache, 'onnx-session');
  return readdirSync(root).map((name) => path.join(root, name));
};
const prepares = ({ phases }: Opening) => phases.includes('prepare vision tower');

test('is written at the first start, opened at the next, and gives equal bits', async () => {
  const plain = await open('plain', { keepVisionFromBytes: undefined });
  expect(readdirSync(path.join(folder, 'plain'))).toEqual(['onnx']); // a small tower is not kept
  const first = await open('kept');
  const second = await open('kept');
  expect([prepares(plain), prepares(first), prepares(second)]).toEqual([false, true, false]);
  expect(first.features).toEqual(plain.features);
  expect(second.features).toEqual(plain.features);
  expect([...first.warnings, ...second.warnings]).toEqual([]);
  const [entry, ...others] = entries('kept');
  expect(others).toEqual([]);
  expect(readdirSync(entry!).sort()).toEqual(['prepared.json', 'vision.0.onnx', 'vision.0.weights']);
});

test('is made for each checkpoint, and the two last used are kept', async () => {
  for (const copy of [1, 2, 3]) {
    const directory = path.join(folder, `copy-${copy}`);
    cpSync(tinyA, directory, { recursive: true });
    expect(prepares(await open('several', {}, directory))).toBe(true);
  }
  expect(entries('several')).toHaveLength(2);
});

test('is made anew when it was cut, and thrown away when it cannot be opened', async () => {
  const whole = await open('damaged');
  const [entry] = entries('damaged');
  const weights = path.join(entry!, 'vision.0.weights');
  const { size } = statSync(weights);
  truncateSync(weights, size - 64);
  const cut = await open('damaged');
  expect(prepares(cut)).toBe(true);
  expect(statSync(weights).size).toBe(size);

  // Of the right size, but no graph any more.
  const graph = path.join(entry!, 'vision.0.onnx');
  writeFileSync(graph, Buffer.alloc(readFileSync(graph).length, 0xff));
  const broken = await open('damaged');
  expect(broken.warnings).toEqual([expect.stringMatching(/cannot be opened .* thrown away/)]);
  expect(entries('damaged')).toEqual([]);
  const again = await open('damaged');
  expect(prepares(again)).toBe(true);
  for (const { features } of [cut, broken, again]) expect(features).toEqual(whole.features);
});

/** Sees every session that a worker is asked to open; `answer` may give another answer. */
function watchOpening(answer: (request: OpenRequest) => Promise<unknown> | undefined) {
  const { prototype } = WorkerChannel as { prototype: AnyChannel };
  const { request } = prototype;
  const channels = new Set<AnyChannel>();
  const spy = vi.spyOn(prototype, 'request').mockImplementation(function (this: AnyChannel, method, body) {
    channels.add(this);
    const other = method === 'open' ? answer(body as OpenRequest) : undefined;
    return (other ?? request.call(this, method, body)) as Promise<never>;
  });
  onTestFinished(() => spy.mockRestore());
  return channels;
}
type AnyChannel = WorkerChannel<Record<string, { request: unknown; response: unknown }>, unknown>;

test.each(['ERR_ENGINE_OUT_OF_MEMORY', 'ERR_ENGINE_DIED'] as const)(
  'stays when opening it ends with %s',
  async (code) => {
    await open(code);
    const opened: string[] = [];
    watchOpening(({ sessions }) => {
      opened.push(sessions?.use ?? 'none');
      return Promise.reject(new SdkError(code, 'not now'));
    });
    await expect(open(code)).rejects.toMatchObject({ code });
    expect(opened).toEqual(['read']); // and not in the way that needs more memory
    expect(entries(code)).toHaveLength(1);
  },
);

test('is done without when the worker starts anew and it was removed meanwhile', async () => {
  const { features } = await open('removed');
  const warnings: string[] = [];
  const channels = watchOpening(() => undefined);
  await using tower = await openVisionTower(await openCheckpoint(tinyA), {
    numerics: 'meta',
    contextLength: 64,
    threads: 1,
    cacheDirectory: path.join(folder, 'removed'),
    keepVisionFromBytes: 0,
    logger: { log: (_, message) => warnings.push(message) },
  });
  expect(warnings).toEqual([]);
  for (const entry of entries('removed')) rmSync(entry, { recursive: true });
  for (const channel of channels) await channel.terminate();
  expect(await tower.encode(image)).toEqual(features);
  expect(warnings).toEqual([expect.stringMatching(/cannot be opened/)]);
});

test.each(['write', 'read', 'none'] as const)(
  'an abort while the session is opened (%s) ends it at once',
  async (use) => {
    const cache = `aborted-${use}`;
    const keepVisionFromBytes = use === 'none' ? undefined : 0;
    if (use === 'read') await open(cache);
    const reason = new SdkError('ERR_DISPOSED', 'enough');
    const controller = new AbortController();
    const channels = watchOpening(({ sessions }) => {
      if ((sessions?.use ?? 'none') === use) queueMicrotask(() => controller.abort(reason));
      return undefined;
    });
    const alive = () => [...channels].map((channel) => channel.alive);
    await expect(open(cache, { signal: controller.signal, keepVisionFromBytes })).rejects.toBe(reason);
    expect(alive()).toEqual([true]); // nobody waits for the thread
    await expect.poll(alive).toEqual([false]);
    if (use !== 'none') await expect.poll(() => entries(cache).length).toBe(use === 'read' ? 1 : 0);
    const again = await open(cache, { keepVisionFromBytes });
    expect([prepares(again), again.warnings]).toEqual([use === 'write', []]);
  },
);

test('costs a warning where the cache cannot be written', async () => {
  const plain = await open('reference', { keepVisionFromBytes: undefined });
  writeFileSync(path.join(folder, 'a-file'), '');
  const opened = await open('a-file');
  expect(opened.warnings).toEqual(expect.arrayContaining([expect.stringContaining('onnx-session')]));
  expect(opened.features).toEqual(plain.features);
});

test('two processes at once make one', async () => {
  const both = await Promise.all([open('shared'), open('shared')]);
  expect(both.filter(prepares)).toHaveLength(1);
  expect(both[0]!.features).toEqual(both[1]!.features);
});

describe('a tower in several graphs', () => {
  test('gives the features of one, kept or not, and keeps all its sessions', async () => {
    const one = await open('one-graph');
    for (const visionRangeBytes of [1, 100_000]) {
      const plain = await open(`graphs-${visionRangeBytes}`, { visionRangeBytes, keepVisionFromBytes: undefined });
      const first = await open(`graphs-${visionRangeBytes}`, { visionRangeBytes });
      const second = await open(`graphs-${visionRangeBytes}`, { visionRangeBytes });
      expect([prepares(plain), prepares(first), prepares(second)]).toEqual([false, true, false]);
      expect(maxDifference(plain.features, one.features)).toBeLessThan(1e-5);
      expect(first.features).toEqual(plain.features);
      expect(second.features).toEqual(plain.features);
      const kept = readdirSync(entries(`graphs-${visionRangeBytes}`)[0]!);
      expect(kept.filter((name) => name.endsWith('.onnx')).length).toBeGreaterThan(1);
    }
  });

  test('is opened without its kept sessions when the last of them is refused', async () => {
    const wanted = await open('refused', { visionRangeBytes: 1 });
    const [entry] = entries('refused');
    const graphs = readdirSync(entry!).filter((name) => name.endsWith('.onnx'));
    const last = path.join(entry!, graphs.sort().at(-1)!);
    writeFileSync(last, Buffer.alloc(statSync(last).size, 0xff));
    const refused = await open('refused', { visionRangeBytes: 1 });
    expect(refused.warnings).toEqual([expect.stringMatching(/cannot be opened .* thrown away/)]);
    expect(refused.features).toEqual(wanted.features);
  });

  test('leaves nothing behind, whenever its opening is aborted', async () => {
    const reason = new Error('enough');
    for (let afterMs = 0; afterMs < 400; afterMs += 40) {
      const controller = new AbortController();
      const channels = watchOpening(({ sessions }) => {
        if (sessions?.use === 'write') setTimeout(() => controller.abort(reason), afterMs);
        return undefined;
      });
      const opening = open('whenever', { visionRangeBytes: 1, signal: controller.signal });
      const outcome = await opening.catch((error: unknown) => error);
      if (outcome === reason) await expect.poll(() => [...channels].some(({ alive }) => alive)).toBe(false);
      vi.restoreAllMocks();
      // An entry that was whole before the abort stays, and is made again by the next.
      await expect.poll(() => entries('whenever').filter((name) => !/[0-9a-f]{32}$/.test(name))).toEqual([]);
      for (const entry of entries('whenever')) rmSync(entry, { recursive: true });
    }
  });

  test('ends a call between two of them when it is cancelled', async () => {
    const checkpoint = await openCheckpoint(tinyA);
    const { vision } = checkpoint.model.architecture;
    const options = { numerics: 'meta', contextLength: 64, threads: 1, cacheDirectory: folder } as const;
    await using tower = await openVisionTower(checkpoint, { ...options, visionRangeBytes: 1 });
    const image = syntheticImage({ aspectRatioId: 2, numTiles: 2 }, 7, vision.tileSize, vision.maxNumTiles);
    const wanted = await tower.encode(image);
    // Some are cancelled before they begin, some on their way; none may disturb the next.
    for (let afterMs = 0; afterMs < 40; afterMs += 2) {
      const cancel = new CancelFlag();
      const encoding = tower.encode(image, cancel);
      const timer = setTimeout(() => cancel.set(), afterMs);
      const made = await encoding.catch((error: Error) => error.message);
      clearTimeout(timer);
      if (typeof made === 'string') expect(made).toContain('cancelled');
      else expect(made).toEqual(wanted);
    }
    expect(await tower.encode(image)).toEqual(wanted);
  });
});
