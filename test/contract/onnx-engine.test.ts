import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';
import { describeEngine } from './engine.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-contract-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = path.join(GOLDEN, 'tiny-a');
const { int4, dequantized } = makeInt4Checkpoint(tinyA, folder, 32);
const groupsAndHead = makeInt4Checkpoint(tinyA, path.join(folder, 'head'), 64, { head: 'int8' });

const opened = new Map<string, Promise<Checkpoint>>();
const checkpoint = (directory: string) => {
  const promise = opened.get(directory) ?? openCheckpoint(directory);
  opened.set(directory, promise);
  return promise;
};

describeEngine('onnx, float32', async (options) =>
  openOnnxEngine(await checkpoint(tinyA), { ...options, cacheDirectory }),
);
describeEngine('onnx, bfloat16 in shards', async (options) =>
  openOnnxEngine(await checkpoint(path.join(GOLDEN, 'tiny-a-bf16')), { ...options, cacheDirectory }),
);
describeEngine('onnx, int4', async (options) =>
  openOnnxEngine(await checkpoint(int4), { ...options, cacheDirectory, accuracyLevel: 1 }),
);
// Activations are rounded to int8: a last bit that differs between one row and many can move a value by a whole step.
describeEngine(
  'onnx, int4 with int8 activations',
  async (options) => openOnnxEngine(await checkpoint(int4), { ...options, cacheDirectory }),
  { tolerance: 0.2 },
);
describeEngine('onnx, one decoder for text and images', async (options) =>
  openOnnxEngine(await checkpoint(tinyA), { ...options, cacheDirectory, separateTextDecoder: false }),
);

async function logitsOf(directory: string, accuracyLevel: 1 | 4): Promise<Float32Array> {
  await using engine = await openOnnxEngine(await checkpoint(directory), { cacheDirectory, accuracyLevel });
  const image = await engine.encodeImage(syntheticImage(ARRANGEMENTS.tall, 21));
  const tokens = Int32Array.of(500, 3, 512, 77, 141, 6, 398);
  const sequence = engine.createSequence();
  return (await sequence.forward(tokens, { images: [{ image, tokenIndex: 2 }], logits: 'all' })).logits;
}

test('an int8 head computes what its dequantised weights compute', async () => {
  const reference = await logitsOf(groupsAndHead.dequantized, 1);
  expect(maxDifference(await logitsOf(groupsAndHead.int4, 1), reference)).toBeLessThan(1e-4);
  const fast = maxDifference(await logitsOf(groupsAndHead.int4, 4), reference);
  expect(fast).toBeGreaterThan(1e-4);
  expect(fast).toBeLessThan(0.5);
});

test('int4 graphs compute what the dequantised weights compute', async () => {
  const reference = await logitsOf(dequantized, 1);
  expect(maxDifference(await logitsOf(int4, 1), reference)).toBeLessThan(1e-4);
  // int8 activations round: near, and not the same.
  const fast = maxDifference(await logitsOf(int4, 4), reference);
  expect(fast).toBeGreaterThan(1e-4);
  expect(fast).toBeLessThan(0.5);
  // The weights did change.
  expect(maxDifference(await logitsOf(tinyA, 1), reference)).toBeGreaterThan(0.05);
});
