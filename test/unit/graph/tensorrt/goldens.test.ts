/**
 * The graphs that TensorRT gets, run on the CPU against recorded results of the reference: pixels to states to keys to
 * logits, prefill and decoding with the cache that each step hands on.
 *
 * Tolerances follow from the element types. float32: two unrelated implementations differ by about 1e-5. float16
 * products: each of some dozens of roundings is 2^-11 of a value; logits are up to 7.1, and 1e-2 is what is seen. bfloat16
 * files are run with the type replaced (`bfloat16ToFloat32`): that proves which operators stand where, on what, and
 * leaves out the rounding, which only a device does.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GoldenTensors, readGoldenTensors } from '#calibration/verify/golden-folder.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Numerics } from '#sdk/engine/engine.js';
import { argmax } from '#sdk/inference/sampling.js';
import { floatsOf, type LoweredOverrides, type LoweredSequence } from '../../../support/lowered-graphs.js';
import { LoweredModel, type PlacedLoweredImage } from '../../../support/lowered-model.js';
import { maxDifference } from '../../../support/tiny-images.js';
import { GOLDEN } from '../../checkpoint/checkpoint-folder.js';

const VOCABULARY = 512;
const IMAGE_TOKEN = 512;
const CASES = ['img1_chat', 'img1_first', 'img2_consecutive', 'img2_interleaved', 'img_last', 'long', 'masked_rows'];

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-lowered-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let models = 0;

async function open(numerics: Numerics, overrides: LoweredOverrides = {}, checkpoint = 'tiny-a') {
  const { model } = await openCheckpoint(path.join(GOLDEN, checkpoint));
  return LoweredModel.open(model, path.join(folder, `${models++}`), numerics, { capacity: 256, ...overrides });
}

interface Prompt {
  readonly tokens: Int32Array;
  readonly images: readonly PlacedLoweredImage[];
  readonly states: Float32Array | undefined;
  readonly prefillLogits: Float32Array;
  readonly decodeTokens: Int32Array;
  readonly decodeLogits: Float32Array;
}

const floats = (tensors: GoldenTensors, name: string) => tensors.get(name)?.data as Float32Array | undefined;
const integers = (tensors: GoldenTensors, name: string) => tensors.get(name)?.data as Int32Array | undefined;

async function readPrompt(
  lowered: LoweredModel,
  name: string,
  numerics: 'meta' | 'hf-4.45',
  cases = 'cases-tiny-a',
): Promise<Prompt> {
  const tensors = await readGoldenTensors(path.join(GOLDEN, cases, `case_${name}.safetensors`));
  const prefixed = (tensor: string) => (numerics === 'meta' ? `alt_zeroed_rows.${tensor}` : tensor);
  const variant = <T>(read: (tensors: GoldenTensors, name: string) => T | undefined, tensor: string) =>
    read(tensors, prefixed(tensor)) ?? read(tensors, tensor);
  const tokens = integers(tensors, 'input_ids')!;
  const places = [...tokens.keys()].filter((place) => tokens[place] === IMAGE_TOKEN);
  const pixels = floats(tensors, 'pixel_values') ?? new Float32Array();
  const size = pixels.length / Math.max(places.length, 1);
  const images: PlacedLoweredImage[] = [];
  for (const [i, tokenIndex] of places.entries()) {
    const mask = integers(tensors, 'aspect_ratio_mask')!.subarray(4 * i, 4 * i + 4);
    const image = await lowered.encode({
      pixelValues: pixels.slice(i * size, (i + 1) * size),
      aspectRatioId: integers(tensors, 'aspect_ratio_ids')![i]!,
      numTiles: mask.reduce((sum, used) => sum + used, 0),
    });
    images.push({ image, tokenIndex });
  }
  return {
    tokens,
    images,
    states: floats(tensors, 'cross_attention_states'),
    prefillLogits: variant(floats, 'prefill_logits')!,
    decodeTokens: variant(integers, 'decode_tokens') ?? new Int32Array(),
    decodeLogits: variant(floats, 'decode_logits') ?? new Float32Array(),
  };
}

async function prefill(lowered: LoweredModel, { tokens, images }: Prompt): Promise<[LoweredSequence, Float32Array]> {
  const sequence = lowered.graphs.createSequence();
  return [sequence, await lowered.forward(sequence, tokens, { images })];
}

/** Prefill, then the reference's tokens one by one; every choice must be its own. */
async function check(lowered: LoweredModel, prompt: Prompt, tolerance: number): Promise<void> {
  const [sequence, logits] = await prefill(lowered, prompt);
  expect(maxDifference(logits, prompt.prefillLogits)).toBeLessThan(tolerance);
  let row: Float32Array = logits.slice(-VOCABULARY);
  for (const [step, token] of prompt.decodeTokens.entries()) {
    const expected = prompt.decodeLogits.slice(step * VOCABULARY, (step + 1) * VOCABULARY);
    expect(maxDifference(row, expected)).toBeLessThan(tolerance);
    expect(argmax(row)).toBe(token);
    row = await lowered.forward(sequence, Int32Array.of(token), { images: prompt.images });
  }
}

describe.each(['meta', 'hf-4.45'] as const)('float32, numerics %s', (numerics) => {
  let lowered: LoweredModel;
  beforeAll(async () => {
    lowered = await open(numerics);
  });
  afterAll(() => lowered[Symbol.asyncDispose]());

  test.each(CASES)('%s', async (name) => {
    await check(lowered, await readPrompt(lowered, name, numerics), 1e-4);
  });

  test('text alone: the graph without cross layers, and the other with their results dropped', async () => {
    const prompt = await readPrompt(lowered, 'text_only', numerics);
    await check(lowered, prompt, 1e-4);
    const logits = await lowered.forward(lowered.graphs.createSequence(), prompt.tokens, { textGraph: false });
    expect(maxDifference(logits, prompt.prefillLogits)).toBeLessThan(1e-4);
  });
});

describe('steps of several tokens', () => {
  let lowered: LoweredModel;
  let prompt: Prompt;
  beforeAll(async () => {
    lowered = await open('meta');
    prompt = await readPrompt(lowered, 'img2_interleaved', 'meta');
  });
  afterAll(() => lowered[Symbol.asyncDispose]());

  test.each([1, 2, 5, 8])('a prompt in pieces of %d gives the logits of the whole', async (size) => {
    const sequence = lowered.graphs.createSequence();
    for (let start = 0; start < prompt.tokens.length; start += size) {
      const piece = prompt.tokens.slice(start, start + size);
      const logits = await lowered.forward(sequence, piece, { images: prompt.images });
      const expected = prompt.prefillLogits.slice(start * VOCABULARY, (start + piece.length) * VOCABULARY);
      expect(maxDifference(logits, expected)).toBeLessThan(1e-4);
    }
  });

  test('a draft is verified in one step, what was wrong of it is written over', async () => {
    const [sequence] = await prefill(lowered, prompt);
    const { decodeTokens, decodeLogits, images } = prompt;
    const draft = Int32Array.from([...decodeTokens.slice(0, 5), 3, 1, 4]);
    const verified = await lowered.forward(sequence, draft, { images });
    // Logits row i of the step gives what follows token i: the logits of the next recorded step.
    const agreed = decodeLogits.slice(VOCABULARY, 6 * VOCABULARY);
    expect(maxDifference(verified.slice(0, 5 * VOCABULARY), agreed)).toBeLessThan(1e-4);
    sequence.truncate(prompt.tokens.length + 5);
    const next = await lowered.forward(sequence, decodeTokens.slice(5, 7), { images });
    expect(maxDifference(next, decodeLogits.slice(6 * VOCABULARY, 8 * VOCABULARY))).toBeLessThan(1e-4);
  });

  test('only wanted tokens have logits', async () => {
    const last = await lowered.forward(lowered.graphs.createSequence(), prompt.tokens, {
      images: prompt.images,
      logits: 'last',
    });
    expect(last).toHaveLength(VOCABULARY);
    expect(maxDifference(last, prompt.prefillLogits.slice(-VOCABULARY))).toBeLessThan(1e-4);
  });
});

describe('element types', () => {
  test.each(['img1_chat', 'img2_interleaved', 'long'])('a float16 decoder: %s', async (name) => {
    await using lowered = await open('meta', { decoderType: 'float16' });
    await check(lowered, await readPrompt(lowered, name, 'meta'), 2e-2);
  });

  test('bfloat16 throughout, of a checkpoint that is stored so', async () => {
    const types = { decoderType: 'bfloat16', visionType: 'bfloat16' } as const;
    await using lowered = await open('meta', types, 'tiny-a-bf16');
    const prompt = await readPrompt(lowered, 'img1_chat', 'meta', 'cases-tiny-a-bf16');
    await check(lowered, prompt, 1e-4);
  });

  test('bfloat16 vision before a float16 decoder, as on the device', async () => {
    await using lowered = await open('meta', { decoderType: 'float16', visionType: 'bfloat16' }, 'tiny-a-bf16');
    const prompt = await readPrompt(lowered, 'img1_chat', 'meta', 'cases-tiny-a-bf16');
    await check(lowered, prompt, 2e-2);
  });
});

describe('vision', () => {
  const arrangements = ['h1w1', 'h1w2', 'h1w3', 'h1w4', 'h2w1', 'h2w2', 'h3w1', 'h4w1'];

  test.each([
    ['float32', 'vision'],
    ['bfloat16', 'vision'],
    ['float32', 'vision-grouped'],
  ] as const)('%s, %s: every arrangement, inside the tower too', async (visionType, graph) => {
    const golden = await readGoldenTensors(path.join(GOLDEN, 'cases-tiny-a', 'vision.safetensors'));
    await using lowered = await open('hf-4.45', { visionType, instrument: true });
    let compared = 0;
    for (const name of arrangements) {
      const numTiles = integers(golden, `${name}.aspect_ratio_mask`)!.reduce((sum, used) => sum + used, 0);
      const image = {
        pixelValues: floats(golden, `${name}.pixel_values`)!,
        aspectRatioId: integers(golden, `${name}.aspect_ratio_ids`)![0]!,
        numTiles,
        merged: false,
        allSlots: true,
      };
      const made = await lowered.graphs.vision(image, graph);
      for (const [output, tensor] of Object.entries(made)) {
        const expected = floats(golden, `${name}.${output}`);
        if (expected === undefined) continue;
        expect(maxDifference(floatsOf(tensor), expected)).toBeLessThan(1e-4);
        compared += 1;
      }
    }
    expect(compared).toBe(8 * 2 + 3 * 4);
  });
});
