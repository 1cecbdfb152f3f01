/** The tensorrt backend as loadModel opens it, on graphs in ONNX Runtime, and what becomes of everything that fails. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { LogLevel } from '#sdk/core/logger.js';
import type { Engine, PlacedImage } from '#sdk/engine/engine.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '#sdk/engine/options.js';
import type { TensorRtHost } from '#sdk/engine/tensorrt/host.js';
import { openModel } from '#sdk/engine/tensorrt/open-model.js';
import { openTensorRtEngineOn } from '#sdk/engine/tensorrt/tensorrt-engine.js';
import { createImageProcessor, decodeImage } from '#sdk/image/index.js';
import { argmax } from '#sdk/inference/sampling.js';
import { openEngine } from '#sdk/model/backends.js';
import { loadModelOn } from '#sdk/model/load-model.js';
import { openGoldenCase } from '../native/golden-case.js';
import { goldenImagePath, readGoldenCase } from '../support/golden-model-folder.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { type ExecutorOptions, NativeError, TensorRtExecutor } from '../support/tensorrt-executor.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-tensorrt-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const tinyA = path.join(GOLDEN, 'tiny-a');
const { int4 } = makeInt4Checkpoint(tinyA, folder, 32);
let caches = 0;
const freshCache = () => path.join(folder, `cache-${caches++}`);

type Host = TensorRtHost & { readonly addon: TensorRtExecutor };
const hostOf = (options: ExecutorOptions = {}): Host => ({ addon: new TensorRtExecutor(options), identity: 'test' });
/** Past the self-test, which has tests of its own. */
async function open(host: Host, directory = int4, options: OpenEngineOptions = {}): Promise<Engine> {
  const checkpoint = await openCheckpoint(directory);
  const { contextLength = 64 } = options;
  return openModel(host, checkpoint, { cacheDirectory: freshCache(), ...options, contextLength, mode: 'plugin' });
}

describe.each(['text_only', 'img1_chat', 'img2_interleaved'])('golden case %s of tiny-a', (name) => {
  // Recorded in float32. K/V, products and cross-attention are float16 here; logits go up to 20.
  test.each(['meta', 'hf-4.45'] as const)('gives its logits and its tokens in float16 (%s)', async (numerics) => {
    const checkpoint = await openCheckpoint(tinyA);
    const golden = openGoldenCase('cases-tiny-a', name, numerics);
    const processor = createImageProcessor(checkpoint.processor);
    await using engine = await open(hostOf(), tinyA, { numerics });
    const images: PlacedImage[] = [];
    for (const [index, { png }] of (await readGoldenCase(name)).images.entries()) {
      const pixels = await processor.process(await decodeImage(goldenImagePath(png)));
      images.push({ image: await engine.encodeImage(pixels), tokenIndex: golden.imageTokenIndices[index]! });
    }
    using sequence = engine.createSequence();
    const prefill = await sequence.forward(golden.inputIds, { images, logits: 'all' });
    expect(maxDifference(prefill.logits, golden.prefillLogits)).toBeLessThan(5e-2);
    const { vocabularySize } = engine.info;
    // Logits row i is what token i was chosen from.
    let logits = prefill.logits.subarray(-vocabularySize);
    for (const [step, token] of golden.decodeTokens.entries()) {
      const expected = golden.decodeLogits.subarray(step * vocabularySize, (step + 1) * vocabularySize);
      expect(maxDifference(logits, expected)).toBeLessThan(5e-2);
      expect(argmax(logits)).toBe(token);
      ({ logits } = await sequence.forward(Int32Array.of(token), { images, logits: 'last' }));
    }
  });
});

describe('the demo model', () => {
  test('writes the text that it writes on the onnx backend', async () => {
    const demo = fileURLToPath(new URL('../../examples/demo-model/checkpoint', import.meta.url));
    const host = hostOf();
    const cacheDirectory = freshCache();
    const backends = {
      tensorrt: async (checkpoint: EngineCheckpoint, options?: OpenEngineOptions) =>
        openModel(host, checkpoint, { ...options, mode: 'plugin', contextLength: 256 }),
      onnx: openOnnxEngine,
    };
    const answers: string[][] = [];
    const picture = await decodeImage(
      fileURLToPath(new URL('../../examples/demo-model/evaluation/00003.jpg', import.meta.url)),
    );
    for (const backend of ['tensorrt', 'onnx'] as const) {
      await using model = await loadModelOn(backends, demo, { backend: backend as 'onnx', cacheDirectory });
      expect(model.info.engine.backend).toBe(backend);
      const described = await model.describe(picture, { maxNewTokens: 40 });
      const again = await model.describe(picture, { maxNewTokens: 40 });
      answers.push([described.text, again.text]);
    }
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]![0]).not.toBe('');
    // The second description was verified several tokens at a time.
    expect(host.addon.steps.some(({ tokens }) => tokens > 1 && tokens <= 8)).toBe(true);
  });
});

describe('steps', () => {
  test('decode few tokens, prefill many, leave cross-attention out of text', async () => {
    const host = hostOf();
    await using engine = await open(host, int4, { contextLength: 600 });
    const image = await engine.encodeImage(syntheticImage(ARRANGEMENTS.single, 1));
    using sequence = engine.createSequence();
    const tokens = Int32Array.from({ length: 530 }, (_, i) => i % 400);
    await sequence.forward(tokens, { images: [{ image, tokenIndex: 515 }], logits: 'last' });
    await sequence.forward(Int32Array.of(1), { images: [{ image, tokenIndex: 515 }], logits: 'last' });
    await sequence.forward(tokens.subarray(0, 11), { images: [{ image, tokenIndex: 515 }], logits: 'all' });
    expect(host.addon.steps).toEqual([
      { stage: 'prefill-text', tokens: 512 },
      { stage: 'prefill', tokens: 18 },
      { stage: 'decode', tokens: 1 },
      { stage: 'decode', tokens: 8 },
      { stage: 'decode', tokens: 3 },
    ]);
  });

  test('take no more images than plans were built for; side by side too many are refused', async () => {
    const host = hostOf();
    await using engine = await open(host);
    const image = await engine.encodeImage(syntheticImage(ARRANGEMENTS.single, 1));
    const at = (...indices: number[]) => indices.map((tokenIndex) => ({ image, tokenIndex }));
    const tokens = Int32Array.from({ length: 20 }, (_, i) => i);
    await engine.createSequence().forward(tokens, { images: at(1, 7, 13), logits: 'last' });
    expect(host.addon.steps.map(({ tokens }) => tokens)).toEqual([10, 10]);
    const refused = engine.createSequence().forward(tokens, { images: at(1, 2, 3), logits: 'last' });
    await expect(refused).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });
});

describe('plans', () => {
  test('are built once, and lie with the graphs', async () => {
    const cacheDirectory = freshCache();
    const first = hostOf();
    await (await open(first, int4, { cacheDirectory }))[Symbol.asyncDispose]();
    // The tile embeddings of this checkpoint let nothing be merged: the tower's plan is the one for all rows.
    expect(first.addon.built).toEqual(['vision-full', 'cross-kv', 'prefill', 'prefill-text', 'decode', 'decode-text']);
    const second = hostOf();
    await (await open(second, int4, { cacheDirectory }))[Symbol.asyncDispose]();
    expect(second.addon.built).toEqual([]);
    expect(second.addon.live).toEqual([]);
    const [entry] = readdirSync(path.join(cacheDirectory, 'tensorrt'));
    const names = readdirSync(path.join(cacheDirectory, 'tensorrt', entry!));
    expect(names).toEqual(expect.arrayContaining(['manifest.json', 'decoder.plugin.onnx', 'decode.plugin.plan']));
    // Transposed weights are for native mode.
    expect(names).not.toContain('transposed.bin');
  });

  test('are not built when somebody cancels half-way; what was built before stays', async () => {
    const cacheDirectory = freshCache();
    const controller = new AbortController();
    const reason = new Error('not now');
    const onBuild: ExecutorOptions['onBuild'] = ({ name }) => {
      if (name === 'prefill') controller.abort(reason);
    };
    const cancelled = hostOf({ onBuild });
    await expect(open(cancelled, int4, { cacheDirectory, signal: controller.signal })).rejects.toBe(reason);
    expect(cancelled.addon.live).toEqual([]);
    const [entry] = readdirSync(path.join(cacheDirectory, 'tensorrt'));
    const left = readdirSync(path.join(cacheDirectory, 'tensorrt', entry!));
    expect(left.filter((name) => name.endsWith('.partial'))).toEqual([]);
    const again = hostOf();
    await (await open(again, int4, { cacheDirectory }))[Symbol.asyncDispose]();
    expect(again.addon.built).toEqual(['prefill', 'prefill-text', 'decode', 'decode-text']);
  });

  test('report where they are', async () => {
    const phases = new Set<string>();
    await using _engine = await open(hostOf(), int4, { onProgress: ({ phase }) => phases.add(phase) });
    expect([...phases]).toEqual(
      expect.arrayContaining(['prepare graphs', 'build plan vision-full', 'build plan decode']),
    );
  });
});

describe('what cannot run here', () => {
  const cannot: readonly [string, string, ExecutorOptions][] = [
    [
      'no library',
      'ERR_NATIVE_UNAVAILABLE',
      { status: { library: null, problem: { code: 'ERR_NATIVE_UNAVAILABLE', message: 'no libnvinfer.so.10' } } },
    ],
    [
      'another version',
      'ERR_ENGINE_INCOMPATIBLE',
      { status: { problem: { code: 'ERR_ENGINE_INCOMPATIBLE', message: 'TensorRT 8.6 has no int4' } } },
    ],
    [
      'little memory',
      'ERR_ENGINE_OUT_OF_MEMORY',
      { status: { device: { ...new TensorRtExecutor().tensorRtStatus().device!, freeBytes: 1000 } } },
    ],
    [
      'memory that is gone when the model opens',
      'ERR_ENGINE_OUT_OF_MEMORY',
      { onOpen: () => fail('ERR_ENGINE_OUT_OF_MEMORY', 'needs 9 GB but 1 GB is free') },
    ],
    [
      'a plan that is refused',
      'ERR_ENGINE_INCOMPATIBLE',
      { onBuild: () => fail('ERR_MODEL_UNSUPPORTED', 'no kernel') },
    ],
  ];

  test.each(cannot)('%s: %s, and auto takes the next backend', async (_, code, options) => {
    const host = hostOf(options);
    const checkpoint = await openCheckpoint(int4);
    const engineOptions = { contextLength: 64, cacheDirectory: freshCache() };
    const backends = {
      tensorrt: (each: EngineCheckpoint, its?: OpenEngineOptions) => openTensorRtEngineOn(host, each, its),
      onnx: openOnnxEngine,
    };
    await expect(openEngine(backends, 'tensorrt', checkpoint, engineOptions)).rejects.toMatchObject({ code });
    const log: string[] = [];
    const logger = { log: (_level: LogLevel, message: string) => void log.push(message) };
    await using engine = await openEngine(backends, 'auto', checkpoint, { ...engineOptions, logger });
    expect(engine.info.backend).toBe('onnx');
    expect(log).toContain('backend tensorrt cannot run this model here');
    expect(host.addon.live).toEqual([]);
  });

  test('an addon without the backend says what to build', async () => {
    const host = { addon: {} as TensorRtHost['addon'], identity: 'old' };
    const opening = openTensorRtEngineOn(host, await openCheckpoint(int4));
    await expect(opening).rejects.toMatchObject({ code: 'ERR_NATIVE_UNAVAILABLE', message: /npm run build:native/ });
  });

  test('a cache that is a file', async () => {
    const cacheDirectory = freshCache();
    writeFileSync(cacheDirectory, '');
    await expect(open(hostOf(), int4, { cacheDirectory })).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
    expect(existsSync(cacheDirectory)).toBe(true);
  });

  test('a step that fails leaves the length, and the engine can be closed', async () => {
    let steps = 0;
    const onStep = () => {
      if (++steps === 2) fail('ERR_ENGINE_FAILED', 'the device is gone');
    };
    const host = hostOf({ onStep });
    const engine = await open(host);
    const sequence = engine.createSequence();
    await sequence.forward(Int32Array.of(1), { images: [], logits: 'last' });
    const failed = sequence.forward(Int32Array.of(2), { images: [], logits: 'last' });
    await expect(failed).rejects.toMatchObject({ code: 'ERR_ENGINE_FAILED', message: 'The device is gone.' });
    expect(sequence.length).toBe(1);
    sequence[Symbol.dispose]();
    await engine[Symbol.asyncDispose]();
    expect(host.addon.live).toEqual([]);
  });
});

function fail(code: string, message: string): never {
  throw new NativeError(code, message);
}
