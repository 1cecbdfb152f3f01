import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Progress } from '#sdk/core/logger.js';
import { type OnnxEngineOptions, openOnnxEngine } from '#sdk/engine/index.js';
import type { OnnxEngine } from '#sdk/engine/onnx/onnx-proxy.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';
import { copyCheckpoint, GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-lifetime-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = path.join(GOLDEN, 'tiny-a');

async function open(options: OnnxEngineOptions = {}, directory = tinyA): Promise<OnnxEngine> {
  const checkpoint = await openCheckpoint(directory);
  const engine = await openOnnxEngine(checkpoint, { contextLength: 64, cacheDirectory, ...options });
  onTestFinished(() => engine[Symbol.asyncDispose]());
  return engine as OnnxEngine;
}
const textLogits = async (engine: OnnxEngine) =>
  (await engine.createSequence().forward(Int32Array.of(500, 7, 9), { images: [], logits: 'last' })).logits;

describe('a process', () => {
  const script = fileURLToPath(new URL('../fixtures/workers/engine-process.mjs', import.meta.url));
  const distribution = fileURLToPath(new URL('../../dist', import.meta.url));
  const start = (ending: string, cache = cacheDirectory) =>
    promisify(execFile)(process.execPath, [script, distribution, tinyA, cache, ending]);

  test.each(['dispose', 'forget'])('ends by itself after: %s', async (ending) => {
    expect(await start(ending)).toEqual({ stdout: 'computed 512\nexit\n', stderr: '' });
  });

  test('keeps its exit code when it ends in the middle of native calls', async () => {
    // Torn down inside ONNX Runtime, its thread would abort the process (code 134).
    const ended = start('exit');
    await expect(ended).rejects.toMatchObject({ code: 7, signal: null, stdout: 'computed 512\nexit\n', stderr: '' });
  });

  test('shares the cache with another that starts at the same time', async () => {
    const shared = path.join(folder, 'shared-cache');
    const ends = await Promise.all([start('dispose', shared), start('dispose', shared)]);
    for (const end of ends) expect(end).toEqual({ stdout: 'computed 512\nexit\n', stderr: '' });
    expect(readdirSync(path.join(shared, 'onnx'))).toHaveLength(1);
  });
});

describe('when the worker dies', () => {
  test('running calls and old states fail typed; new ones work', async () => {
    const engine = await open();
    const before = await textLogits(engine);
    const image = await engine.encodeImage(syntheticImage(ARRANGEMENTS.single, 1));
    const sequence = engine.createSequence();
    await sequence.forward(Int32Array.of(500, 512), { images: [{ image, tokenIndex: 1 }], logits: 'last' });
    const died = { code: 'ERR_ENGINE_DIED', retryable: true };

    // A queue of them: one alone may be done before the worker is.
    const running = Array.from({ length: 64 }, () => engine.encodeImage(syntheticImage(ARRANGEMENTS.square, 2)));
    const settled = Promise.allSettled(running);
    await engine.kill();
    expect((await settled).at(-1)).toMatchObject({ status: 'rejected', reason: died });

    await expect(sequence.forward(Int32Array.of(3), { images: [], logits: 'last' })).rejects.toMatchObject(died);
    const images = [{ image, tokenIndex: 0 }];
    const withOld = engine.createSequence().forward(Int32Array.of(512), { images, logits: 'last' });
    await expect(withOld).rejects.toMatchObject(died);
    image[Symbol.dispose]();
    sequence[Symbol.dispose]();

    expect(maxDifference(await textLogits(engine), before)).toBe(0);
    const again = await engine.encodeImage(syntheticImage(ARRANGEMENTS.single, 1));
    const placed = [{ image: again, tokenIndex: 1 }];
    const fresh = await engine.createSequence().forward(Int32Array.of(500, 512), { images: placed, logits: 'last' });
    expect(fresh.logits.every(Number.isFinite)).toBe(true);
  });

  test('an engine can be closed afterwards', async () => {
    const engine = await open();
    await engine.kill();
    await engine[Symbol.asyncDispose]();
  });
});

test('a sequence that computes says so to whoever uses it meanwhile', async () => {
  const engine = await open();
  const sequence = engine.createSequence();
  const running = sequence.forward(Int32Array.of(500, 1), { images: [], logits: 'last' });
  const busy = { code: 'ERR_BUSY' };
  await expect(sequence.forward(Int32Array.of(2), { images: [], logits: 'last' })).rejects.toMatchObject(busy);
  expect(() => sequence.truncate(0)).toThrow(expect.objectContaining(busy));
  await running;
  expect(sequence.length).toBe(2);
});

describe('opening', () => {
  test('reports progress to its end', async () => {
    const seen: Progress[] = [];
    await open({ onProgress: (progress) => seen.push(progress) });
    expect(new Set(seen.map(({ phase }) => phase))).toEqual(new Set(['prepare graphs', 'load graphs']));
    expect(seen.at(-1)).toEqual({ phase: 'load graphs', done: 3, total: 3, unit: 'steps' });
  });

  test('keeps prepared graphs by content and options', async () => {
    const own = path.join(folder, 'own-cache');
    const entries = () => readdirSync(path.join(own, 'onnx')).length;
    const copy = copyCheckpoint('tiny-a');
    await open({ cacheDirectory: own }, copy);
    await open({ cacheDirectory: own, threads: 1 }, copy);
    await open({ cacheDirectory: own, numerics: 'hf-4.45' }, copy); // the same graphs, other inputs
    expect(entries()).toBe(1);
    await open({ cacheDirectory: own, numerics: 'hf-5' }, copy);
    await open({ cacheDirectory: own, contextLength: 32 }, copy);
    expect(entries()).toBe(3);
  });

  test('a damaged graph in the cache is emitted again', async () => {
    const own = path.join(folder, 'damaged-cache');
    const expected = await textLogits(await open({ cacheDirectory: own }));
    const [entry] = readdirSync(path.join(own, 'onnx'));
    const graph = path.join(own, 'onnx', entry!, 'decoder-text.onnx');
    expect(existsSync(graph)).toBe(true);
    writeFileSync(graph, 'not a graph');
    expect(maxDifference(await textLogits(await open({ cacheDirectory: own })), expected)).toBe(0);
  });

  test('options out of range are refused', async () => {
    const invalid = { code: 'ERR_ARGUMENT_INVALID' };
    for (const options of [{ contextLength: 0 }, { contextLength: 131073 }, { contextLength: 1.5 }, { threads: 0 }]) {
      await expect(open(options)).rejects.toMatchObject(invalid);
    }
  });

  test('an abort rejects with the reason', async () => {
    const reason = new Error('changed my mind');
    await expect(open({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const opening = open({ signal: controller.signal, onProgress: () => controller.abort(reason) });
    await expect(opening).rejects.toBe(reason);
  });

  test('weights that vanish between check and use are a typed error', async () => {
    const copy = copyCheckpoint('tiny-a');
    const checkpoint = await openCheckpoint(copy);
    writeFileSync(path.join(copy, 'model.safetensors'), 'cut');
    const options = { contextLength: 64, cacheDirectory };
    await expect(openOnnxEngine(checkpoint, options)).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
    // Nothing of them is read before the runtime opens them.
    const opening = openOnnxEngine(checkpoint, { ...options, vision: 'full' });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_ENGINE_FAILED' });
  });
});
