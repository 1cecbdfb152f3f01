/**
 * int4 weights in the lowered graphs: as functions over transposed weights, and in plugin mode over weights as they lie
 * in the checkpoint. Both must give what the `onnx` backend gives, which reads them through another operator.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import { makeInt4Checkpoint } from '../../../support/int4-checkpoint.js';
import { floatsOf, type LoweredOverrides } from '../../../support/lowered-graphs.js';
import { LoweredModel } from '../../../support/lowered-model.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../../../support/tiny-images.js';
import { GOLDEN } from '../../checkpoint/checkpoint-folder.js';

const DEMO = fileURLToPath(new URL('../../../../examples/demo-model/checkpoint', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-lowered-int4-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let models = 0;

interface Reference {
  readonly checkpoint: Checkpoint;
  readonly image: ProcessedImage;
  readonly tokens: Int32Array;
  /** Of all tokens but the last, and of the last one with those as its past. */
  readonly prefill: Float32Array;
  readonly next: Float32Array;
}

/** What the `onnx` backend computes, with activations in float32. */
async function reference(directory: string, imageToken: number): Promise<Reference> {
  const checkpoint = await openCheckpoint(directory);
  await using engine = await openOnnxEngine(checkpoint, {
    accuracyLevel: 1,
    contextLength: 64,
    threads: 1,
    cacheDirectory: path.join(folder, 'cache'),
  });
  const image = syntheticImage(ARRANGEMENTS.wide, 3, checkpoint.model.architecture.vision.tileSize);
  const tokens = Int32Array.of(5, 17, imageToken, 101, 7, 250, 33, 9, 42);
  using state = await engine.encodeImage(image);
  using sequence = engine.createSequence();
  const images = [{ image: state, tokenIndex: 2 }];
  const { logits: prefill } = await sequence.forward(tokens.subarray(0, -1), { images, logits: 'all' });
  const { logits: next } = await sequence.forward(tokens.subarray(-1), { images, logits: 'all' });
  return { checkpoint, image, tokens, prefill, next };
}

async function difference(expected: Reference, overrides: LoweredOverrides): Promise<number> {
  const { checkpoint, image, tokens } = expected;
  await using lowered = await LoweredModel.open(checkpoint.model, path.join(folder, `${models++}`), 'meta', overrides);
  const sequence = lowered.graphs.createSequence();
  const images = [{ image: await lowered.encode(image), tokenIndex: 2 }];
  const prefill = await lowered.forward(sequence, tokens.subarray(0, -1), { images });
  const next = await lowered.forward(sequence, tokens.subarray(-1), { images });
  return Math.max(maxDifference(prefill, expected.prefill), maxDifference(next, expected.next));
}

describe('the demo model, quantised by the product: groups of 128, scales in bfloat16', () => {
  let expected: Reference;
  beforeAll(async () => {
    const directory = path.join(folder, 'demo-int4');
    await quantizeCheckpoint({ source: DEMO, output: directory });
    expected = await reference(directory, 768);
    expect(expected.checkpoint.model.int4?.groupSize).toBe(128);
  });

  // The same sums in another order; bfloat16 scales are exact in float16 and float32 alike.
  test.each([false, true])('float32, plugin mode %s', async (plugins) => {
    expect(await difference(expected, { plugins })).toBeLessThan(2e-4);
  });

  test('bfloat16 throughout, plugin mode', async () => {
    const types = { decoderType: 'bfloat16', visionType: 'bfloat16' } as const;
    expect(await difference(expected, { ...types, plugins: true })).toBeLessThan(2e-4);
  });

  test('rows of the vision tower that are copies of each other, computed once', async () => {
    const { checkpoint } = expected;
    await using lowered = await LoweredModel.open(checkpoint.model, path.join(folder, 'merged'));
    for (const arrangement of Object.values(ARRANGEMENTS)) {
      const image = syntheticImage(arrangement, 5, checkpoint.model.architecture.vision.tileSize);
      const [whole, merged] = [await lowered.encode(image), await lowered.encode(image, true)];
      expect(floatsOf(merged.states)).toHaveLength(floatsOf(whole.states).length);
      expect(maxDifference(floatsOf(merged.states), floatsOf(whole.states))).toBeLessThan(2e-4);
    }
  });

  // Activations, keys and values rounded to 11 bits.
  test.each([false, true])('float16, as on the device, plugin mode %s', async (plugins) => {
    const types = { decoderType: 'float16', visionType: 'bfloat16' } as const;
    expect(await difference(expected, { ...types, plugins })).toBeLessThan(3e-2);
  });
});

describe.each([
  { groupSize: 32, head: 'float' },
  { groupSize: 64, head: 'int8' },
  { groupSize: 'channel', head: 'int8' },
] as const)('groups of $groupSize, lm_head as $head, scales in float32', ({ groupSize, head }) => {
  let expected: Reference;
  beforeAll(async () => {
    const target = path.join(folder, `tiny-${groupSize}`);
    const { int4 } = makeInt4Checkpoint(path.join(GOLDEN, 'tiny-a'), target, groupSize, { head });
    expected = await reference(int4, 512);
  });

  test('float32, plugin mode', async () => {
    expect(await difference(expected, { plugins: true })).toBeLessThan(1e-4);
  });

  test('float16, functions', async () => {
    expect(await difference(expected, { decoderType: 'float16' })).toBeLessThan(2e-2);
  });
});
