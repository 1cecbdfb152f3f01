/** The C++ decoder behind the addon against the golden cases: vision features come from the case, not from a tower. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type {
  CpuDecoderSpec,
  CpuImageHandle,
  CpuSequenceHandle,
  OpenedCpuDecoder,
} from '#sdk/engine/cpu/addon-types.js';
import { engineAddon } from '#sdk/native/index.js';
import { type GoldenCase, goldenDirectory, openGoldenCase } from './golden-case.js';

const addon = engineAddon();
const CASES = [
  'img1_chat',
  'img1_first',
  'img2_consecutive',
  'img2_interleaved',
  'img_last',
  'long',
  'masked_rows',
  'text_only',
];

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'scenebus-cpu-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function specOf(overrides: Partial<CpuDecoderSpec> = {}, checkpoint = 'tiny-a'): Promise<CpuDecoderSpec> {
  const { model } = await openCheckpoint(join(goldenDirectory, checkpoint));
  return {
    text: model.architecture.text,
    tensors: [...model.tensors].map(([name, location]) => ({ name, ...location })),
    maskedTokensAttend: false,
    contextLength: 256,
    threads: 2,
    instructionSet: '',
    keyValueType: 'f32',
    packedWeightsPath: join(directory, 'packed'),
    packedKey: 'test',
    ...overrides,
  };
}

const open = (spec: CpuDecoderSpec) => addon.openCpuDecoder(spec, new Int32Array(1), () => {});

interface Placed {
  readonly handles: CpuImageHandle[];
  readonly indices: Int32Array;
}

async function encodeImages(decoder: OpenedCpuDecoder, golden: GoldenCase): Promise<Placed> {
  const handles: CpuImageHandle[] = [];
  const { tokensPerTile, slots, hiddenSize } = golden.states;
  for (const [i, numTiles] of golden.numTiles.entries()) {
    const size = slots * tokensPerTile * hiddenSize;
    const features = golden.states.data.slice(i * size, (i + 1) * size);
    const made = await addon.encodeCpuImage(decoder.handle, features, numTiles * tokensPerTile, new Int32Array(1));
    handles.push(made.handle);
  }
  return { handles, indices: Int32Array.from(golden.imageTokenIndices) };
}

async function forward(
  decoder: OpenedCpuDecoder,
  sequence: CpuSequenceHandle,
  tokens: Int32Array,
  images: Placed,
  all = true,
  abort = new Int32Array(1),
): Promise<Float32Array> {
  const logits = new Float32Array((all ? tokens.length : 1) * 512);
  await addon.forwardCpu(
    decoder.handle,
    sequence,
    tokens,
    images.handles,
    images.indices,
    all ? 'all' : 'last',
    logits,
    abort,
  );
  return logits;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (const [i, value] of a.entries()) largest = Math.max(largest, Math.abs(value - b[i]!));
  return Number.isNaN(a.reduce((x, y) => x + y, 0)) ? Number.NaN : largest;
}

describe.each(addon.cpuFeatures().instructionSets)('golden cases in float with %s kernels', (instructionSet) => {
  for (const numerics of ['meta', 'hf-4.45'] as const) {
    let decoder: OpenedCpuDecoder;
    beforeAll(async () => {
      decoder = await open(await specOf({ instructionSet, maskedTokensAttend: numerics === 'hf-4.45' }));
    });

    test.each(CASES)(`${numerics}: prefill and greedy decoding of %s`, async (name) => {
      const golden = openGoldenCase('cases-tiny-a', name, numerics);
      const images = await encodeImages(decoder, golden);
      const sequence = addon.createCpuSequence(decoder.handle);
      const prefill = await forward(decoder, sequence, golden.inputIds, images);
      expect(largestDifference(prefill, golden.prefillLogits)).toBeLessThan(1e-4);

      let row: Float32Array = prefill.slice(-512);
      for (const [step, token] of golden.decodeTokens.entries()) {
        expect(largestDifference(row, golden.decodeLogits.slice(step * 512, (step + 1) * 512))).toBeLessThan(1e-4);
        expect(row.indexOf(Math.max(...row))).toBe(token);
        row = await forward(decoder, sequence, Int32Array.of(token), images, false);
      }
    });
  }
});

test('a prompt in pieces of any size gives the logits of the whole prompt', async () => {
  const decoder = await open(await specOf());
  const golden = openGoldenCase('cases-tiny-a', 'img2_interleaved', 'meta');
  const images = await encodeImages(decoder, golden);
  for (const size of [1, 2, 5, 7]) {
    const sequence = addon.createCpuSequence(decoder.handle);
    for (let start = 0; start < golden.inputIds.length; start += size) {
      const piece = golden.inputIds.slice(start, start + size);
      const logits = await forward(decoder, sequence, piece, images);
      const expected = golden.prefillLogits.slice(start * 512, (start + piece.length) * 512);
      expect(largestDifference(logits, expected)).toBeLessThan(1e-4);
    }
  }
});

test('a prompt longer than one pass gives the logits of its pieces', async () => {
  const decoder = await open(await specOf({ contextLength: 700 }));
  const tokens = Int32Array.from({ length: 600 }, (_, i) => (i * 37) % 512);
  const none = { handles: [], indices: new Int32Array() };
  const whole = await forward(decoder, addon.createCpuSequence(decoder.handle), tokens, none);
  const sequence = addon.createCpuSequence(decoder.handle);
  for (let start = 0; start < 600; start += 100) {
    const logits = await forward(decoder, sequence, tokens.slice(start, start + 100), none);
    expect(largestDifference(logits, whole.slice(start * 512, (start + 100) * 512))).toBeLessThan(1e-4);
  }
});

test('after truncate a sequence continues as if the tokens had never been there', async () => {
  const decoder = await open(await specOf());
  const golden = openGoldenCase('cases-tiny-a', 'img1_first', 'meta');
  const images = await encodeImages(decoder, golden);
  const sequence = addon.createCpuSequence(decoder.handle);
  const first = await forward(decoder, sequence, golden.inputIds, images);
  await forward(decoder, sequence, Int32Array.of(3, 1, 4, 1, 5), images);
  addon.truncateCpuSequence(sequence, 2);
  const again = await forward(decoder, sequence, golden.inputIds.slice(2), images);
  expect(again).toEqual(first.slice(2 * 512));
});

test.each([
  ['f16', 2e-2],
  ['int8', 0.2],
] as const)('an %s cache stays close to the golden logits', async (keyValueType, bound) => {
  const decoder = await open(await specOf({ keyValueType }));
  for (const name of ['img1_first', 'long', 'text_only']) {
    const golden = openGoldenCase('cases-tiny-a', name, 'meta');
    const images = await encodeImages(decoder, golden);
    const logits = await forward(decoder, addon.createCpuSequence(decoder.handle), golden.inputIds, images);
    expect(largestDifference(logits, golden.prefillLogits)).toBeLessThan(bound);
  }
});

test('bf16 weights in shards are read as they are stored', async () => {
  const decoder = await open(await specOf({}, 'tiny-a-bf16'));
  const golden = openGoldenCase('cases-tiny-a-bf16', 'img1_chat', 'meta');
  const images = await encodeImages(decoder, golden);
  const logits = await forward(decoder, addon.createCpuSequence(decoder.handle), golden.inputIds, images);
  expect(largestDifference(logits, golden.prefillLogits)).toBeLessThan(1e-4);
});

test('a set abort flag stops the call and leaves the sequence as it was', async () => {
  const decoder = await open(await specOf());
  const sequence = addon.createCpuSequence(decoder.handle);
  const none = { handles: [], indices: new Int32Array() };
  const tokens = Int32Array.of(1, 2, 3);
  const first = await forward(decoder, sequence, tokens, none);
  await expect(forward(decoder, sequence, tokens, none, true, Int32Array.of(1))).rejects.toMatchObject({
    code: 'ABORTED',
  });
  addon.truncateCpuSequence(sequence, 0);
  expect(await forward(decoder, sequence, tokens, none)).toEqual(first);
  expect(() => addon.truncateCpuSequence(sequence, 4)).toThrow(/0 to 3/);
});

test('bad calls are refused with a code and change nothing', async () => {
  const decoder = await open(await specOf({ contextLength: 8 }));
  const sequence = addon.createCpuSequence(decoder.handle);
  const none = { handles: [], indices: new Int32Array() };
  await expect(forward(decoder, sequence, new Int32Array(9), none)).rejects.toMatchObject({
    code: 'ERR_CONTEXT_OVERFLOW',
  });
  for (const bad of [520, -1]) {
    await expect(forward(decoder, sequence, Int32Array.of(bad), none)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
  }
  await expect(
    addon.encodeCpuImage(decoder.handle, new Float32Array(64 * 4), 5, new Int32Array(1)),
  ).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  await forward(decoder, sequence, new Int32Array(8), none);
  addon.releaseCpuHandle(sequence);
  addon.releaseCpuHandle(sequence);
  expect(() => addon.truncateCpuSequence(sequence, 0)).toThrow(/released/);
  expect(() => addon.createCpuSequence(sequence as never)).toThrow(/handle/);
  expect(() => addon.createCpuSequence({} as never)).toThrow(/handle/);
});

test('an unusable model is refused with a code', async () => {
  const spec = await specOf();
  const name = 'language_model.model.layers.2.mlp.up_proj.weight';
  const without = spec.tensors.filter((tensor) => tensor.name !== name);
  await expect(open({ ...spec, tensors: without })).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
  const shifted = spec.tensors.map((t) => (t.name === name ? { ...t, offsetBytes: 2 ** 40 } : t));
  await expect(open({ ...spec, tensors: shifted })).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
  const elsewhere = spec.tensors.map((t) => ({ ...t, file: join(directory, 'missing.safetensors') }));
  await expect(open({ ...spec, tensors: elsewhere })).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  await expect(open({ ...spec, text: { ...spec.text, headDim: 12 } })).rejects.toMatchObject({
    code: 'ERR_MODEL_UNSUPPORTED',
  });
  await expect(open({ ...spec, instructionSet: 'neon-dotprod' })).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
});
