import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine } from '#sdk/engine/engine.js';
import { type CpuEngineOptions, openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import { engineAddon } from '#sdk/native/index.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';
import { describeEngine } from './engine.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-contract-cpu-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = path.join(GOLDEN, 'tiny-a');
const { int4, dequantized } = makeInt4Checkpoint(tinyA, folder, 32);
const channel = makeInt4Checkpoint(tinyA, path.join(folder, 'channel'), 'channel', { head: 'int8' });

const opened = new Map<string, Promise<Checkpoint>>();
const checkpoint = (directory: string) => {
  const promise = opened.get(directory) ?? openCheckpoint(directory);
  opened.set(directory, promise);
  return promise;
};
const open = async (directory: string, options: CpuEngineOptions) =>
  openCpuEngine(await checkpoint(directory), { cacheDirectory, ...options });

describeEngine('cpu, float32', (options) => open(tinyA, { ...options, keyValueType: 'f32' }));
describeEngine('cpu, bfloat16 in shards', (options) =>
  open(path.join(GOLDEN, 'tiny-a-bf16'), { ...options, keyValueType: 'f32' }),
);
// A last bit that differs between one row and many can move a cached value by a whole step of float16 …
describeEngine('cpu, float32 with an f16 cache', (options) => open(tinyA, options), { tolerance: 1e-2 });
describeEngine('cpu, float32 with an int8 cache', (options) => open(tinyA, { ...options, keyValueType: 'int8' }), {
  tolerance: 0.1,
});
// … or an activation by a whole step of int8.
describeEngine('cpu, int4', (options) => open(int4, options), { tolerance: 0.2 });
describeEngine('cpu, int4 by channel, int8 head', (options) => open(channel.int4, options), { tolerance: 0.2 });

test('an int8 cache takes half the memory of an f16 one, and its logits stay close', async () => {
  const encode = async (keyValueType: 'f16' | 'int8') => {
    await using engine = await open(tinyA, { keyValueType });
    return (await engine.encodeImage(syntheticImage(ARRANGEMENTS.tall, 21))).sizeBytes;
  };
  const [half, bytes] = [await encode('f16'), await encode('int8')];
  // A scale of 4 bytes for each head of 16 numbers: little for the 128 of a real model, much here.
  expect(bytes / half).toBeCloseTo((16 + 4) / 32, 5);
  const exact = await logitsOf(await open(tinyA, { keyValueType: 'f32' }));
  for (const instructionSet of engineAddon().cpuFeatures().instructionSets) {
    const found = await logitsOf(await open(tinyA, { keyValueType: 'int8', instructionSet: instructionSet as never }));
    expect(maxDifference(found, exact)).toBeGreaterThan(1e-4);
    expect(maxDifference(found, exact)).toBeLessThan(0.25);
  }
});

test('an unknown keyValueType is refused', async () => {
  await expect(open(tinyA, { keyValueType: 'int4' as never })).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
});

async function logitsOf(engine: Engine): Promise<Float32Array> {
  await using used = engine;
  const image = await used.encodeImage(syntheticImage(ARRANGEMENTS.tall, 21));
  const tokens = Int32Array.of(500, 3, 512, 77, 141, 6, 398);
  const sequence = used.createSequence();
  return (await sequence.forward(tokens, { images: [{ image, tokenIndex: 2 }], logits: 'all' })).logits;
}

describe.each(['meta', 'hf-4.45', 'hf-5'] as const)('numerics %s', (numerics) => {
  test('float logits are those of the onnx backend', async () => {
    const onnx = await openOnnxEngine(await checkpoint(tinyA), { numerics, cacheDirectory });
    const expected = await logitsOf(onnx);
    const found = await logitsOf(await open(tinyA, { numerics, keyValueType: 'f32' }));
    expect(maxDifference(found, expected)).toBeLessThan(1e-4);
  });
});

test.each(engineAddon().cpuFeatures().instructionSets)(
  'int4 weights by channel and an int8 head with %s kernels are near the exact ones',
  async (set) => {
    const exact = await logitsOf(await open(channel.dequantized, { keyValueType: 'f32' }));
    const onnx = await openOnnxEngine(await checkpoint(channel.int4), { cacheDirectory, accuracyLevel: 1 });
    expect(maxDifference(await logitsOf(onnx), exact)).toBeLessThan(1e-4);
    const found = await logitsOf(await open(channel.int4, { instructionSet: set as never }));
    expect(maxDifference(found, exact)).toBeGreaterThan(1e-4);
    expect(maxDifference(found, exact)).toBeLessThan(0.5);
  },
);

test.each(engineAddon().cpuFeatures().instructionSets)(
  'int4 logits with %s kernels are near the exact ones',
  async (set) => {
    const onnx = await openOnnxEngine(await checkpoint(int4), { cacheDirectory, accuracyLevel: 1 });
    const exact = await logitsOf(onnx);
    const found = await logitsOf(await open(int4, { instructionSet: set as never }));
    // int8 activations round: near, and not the same. Another quarter of the weights' own rounding would be seen.
    const difference = maxDifference(found, exact);
    expect(difference).toBeGreaterThan(1e-4);
    expect(difference).toBeLessThan(0.5);
    expect(maxDifference(found, await logitsOf(await open(dequantized, { keyValueType: 'f32' })))).toBeLessThan(0.5);
    expect(maxDifference(found, await logitsOf(await open(tinyA, { keyValueType: 'f32' })))).toBeGreaterThan(
      difference,
    );
  },
);
