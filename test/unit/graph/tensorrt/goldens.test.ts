/** The graphs that TensorRT gets, run on the CPU against the recorded results of the reference. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readGoldenTensors } from '#calibration/verify/golden-folder.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { argmax } from '#sdk/engine/index.js';
import { floatsOf } from '../../../support/lowered-graphs.js';
import { LoweredModel } from '../../../support/lowered-model.js';
import { GOLDEN } from '../../checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-lowered-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('vision, cross-attention and prefill of a prompt with an image', async () => {
  const { model } = await openCheckpoint(path.join(GOLDEN, 'tiny-a'));
  await using lowered = await LoweredModel.open(model, folder, 'hf-4.45');
  const golden = await readGoldenTensors(path.join(GOLDEN, 'cases-tiny-a', 'case_img1_chat.safetensors'));
  const pixelValues = golden.get('pixel_values')!.data as Float32Array;
  const image = await lowered.encode({
    pixelValues,
    aspectRatioId: golden.get('aspect_ratio_ids')!.data[0]!,
    numTiles: 2,
  });
  const diff = (a: Float32Array, b: Float32Array) => a.reduce((m, x, i) => Math.max(m, Math.abs(x - b[i]!)), 0);
  expect(diff(floatsOf(image.states), golden.get('cross_attention_states')!.data as Float32Array)).toBeLessThan(1e-4);
  const tokens = golden.get('input_ids')!.data as Int32Array;
  const images = [{ image, tokenIndex: tokens.indexOf(512) }];
  const sequence = lowered.graphs.createSequence();
  const logits = await lowered.forward(sequence, tokens, { images });
  expect(diff(logits, golden.get('prefill_logits')!.data as Float32Array)).toBeLessThan(1e-4);
  expect(argmax(logits.subarray(-512))).toBe(golden.get('decode_tokens')!.data[0]);
});
