/** Prompts far longer than a pass of the decoder, and than what rope scaling stretches from, through the golden model. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine } from '#sdk/engine/engine.js';
import { openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import { maxDifference } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-long-context-'));
const CONTEXT = 2048;
const LENGTH = 1500;
const FACTS = [
  [11, 404, 87, 250],
  [350, 19, 463, 5],
] as const;

let engine: Engine;
let onnx: Engine;
beforeAll(async () => {
  const checkpoint = await openCheckpoint(path.join(GOLDEN, 'tiny-a'));
  const options = { cacheDirectory: folder, contextLength: CONTEXT };
  engine = await openCpuEngine(checkpoint, { ...options, keyValueType: 'f32' });
  onnx = await openOnnxEngine(checkpoint, options);
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  await onnx[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);

/** Filler that never repeats for long, with a fact at a share of it. */
function promptWith(fact: readonly number[], share: number): Int32Array {
  const ids = Int32Array.from({ length: LENGTH }, (_, i) => (i * i * 31 + i * 7) % 499);
  ids.set(fact, Math.floor(share * (LENGTH - fact.length)));
  return ids;
}

async function lastLogits(of: Engine, ids: Int32Array, sliceTokens: number): Promise<Float32Array> {
  using sequence = of.createSequence();
  let logits: Float32Array = new Float32Array();
  for (let done = 0; done < ids.length; done += sliceTokens) {
    const slice = ids.subarray(done, done + sliceTokens);
    const isLast = done + sliceTokens >= ids.length;
    ({ logits } = await sequence.forward(slice, { images: [], logits: isLast ? 'last' : 'none' }));
  }
  return logits;
}

describe.each([0.05, 0.5, 0.95])('a fact at %d of a long prompt', (share) => {
  test('is in the logits at its end, bit for bit the same however the prompt is cut', async () => {
    const [one, other] = FACTS.map((fact) => promptWith(fact, share)) as [Int32Array, Int32Array];
    const whole = await lastLogits(engine, one, LENGTH);
    expect(maxDifference(whole, await lastLogits(engine, other, LENGTH))).toBeGreaterThan(1e-3);
    for (const sliceTokens of [256, 100, 37]) {
      const cut = await lastLogits(engine, one, sliceTokens);
      expect(Buffer.compare(bytesOf(cut), bytesOf(whole)) === 0, `slices of ${sliceTokens}`).toBe(true);
    }
    // The other engine computes positions from tables: both must stretch them alike, far beyond the 32 of training.
    expect(maxDifference(whole, await lastLogits(onnx, one, 256))).toBeLessThan(2e-3);
  });
});

test('a prompt one token over the context is refused, and one that fills it is not', async () => {
  const ids = Int32Array.from({ length: CONTEXT + 1 }, (_, i) => i % 499);
  using sequence = engine.createSequence();
  const refused = sequence.forward(ids, { images: [], logits: 'last' });
  await expect(refused).rejects.toMatchObject({
    code: 'ERR_CONTEXT_OVERFLOW',
    details: { contextLength: CONTEXT, added: CONTEXT + 1 },
  });
  expect(sequence.length).toBe(0);
  const { logits } = await sequence.forward(ids.subarray(0, CONTEXT), { images: [], logits: 'last' });
  expect(logits.every(Number.isFinite)).toBe(true);
  const further = sequence.forward(ids.subarray(0, 1), { images: [], logits: 'last' });
  await expect(further).rejects.toMatchObject({ code: 'ERR_CONTEXT_OVERFLOW' });
});

test('a context is at most what the model has positions for: 131 072, and no prompt is longer', async () => {
  const checkpoint = await openCheckpoint(path.join(GOLDEN, 'tiny-a'));
  const open = (contextLength: number) => openCpuEngine(checkpoint, { cacheDirectory: folder, contextLength });
  await expect(open(131_073)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  await using longest = await open(131_072);
  using sequence = longest.createSequence();
  const refused = sequence.forward(new Int32Array(131_073), { images: [], logits: 'last' });
  await expect(refused).rejects.toMatchObject({ code: 'ERR_CONTEXT_OVERFLOW', details: { contextLength: 131_072 } });
  const { logits } = await sequence.forward(new Int32Array(300), { images: [], logits: 'last' });
  expect(logits.every(Number.isFinite)).toBe(true);
});
