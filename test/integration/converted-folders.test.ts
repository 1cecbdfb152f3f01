/** Folders of other tools, converted and run: the engines must compute what the source's integers stand for. */
import { cpSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { CalibrationScene } from '#calibration/quantize/calibration-samples.js';
import { compare, type Predictions } from '#calibration/quantize/divergence.js';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine } from '#sdk/engine/engine.js';
import { openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import { randomScenes } from '../support/calibration-scenes.js';
import { makeForeignCheckpoint } from '../support/foreign-checkpoint.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';
import { editTensors } from '../unit/checkpoint/checkpoint-folder.js';

const TINY = fileURLToPath(new URL('../fixtures/golden/tiny-a', import.meta.url));

type Open = (checkpoint: Checkpoint, cacheDirectory: string) => Promise<Engine>;
const ENGINES: Record<string, Open> = {
  onnx: (checkpoint, cacheDirectory) =>
    openOnnxEngine(checkpoint, { cacheDirectory, contextLength: 64, accuracyLevel: 1 }),
  cpu: (checkpoint, cacheDirectory) => openCpuEngine(checkpoint, { cacheDirectory, contextLength: 64 }),
};

async function predict(open: Open, checkpoint: Checkpoint, scenes: readonly CalibrationScene[]): Promise<Predictions> {
  await using engine = await open(checkpoint, await makeTemporaryFolder('scenebus-cache-'));
  const predictions: Float32Array[] = [];
  for (const scene of scenes) {
    using image = await engine.encodeImage(await scene.image({}), {});
    for (const { tokens, imageTokenIndex } of scene.samples) {
      using sequence = engine.createSequence();
      const images = [{ image, tokenIndex: imageTokenIndex }];
      predictions.push((await sequence.forward(tokens, { images, logits: 'all' })).logits);
    }
  }
  return predictions;
}

test.each(['onnx', 'cpu'])('symmetric int4 of GPTQ on backend %s, with scales in float16', async (backend) => {
  const target = await makeTemporaryFolder('scenebus-converted-');
  const { folder, values } = makeForeignCheckpoint(TINY, target, 'gptq', { symmetric: true });
  const output = path.join(target, 'int4');
  expect((await quantizeCheckpoint({ source: folder, output, from: 'gptq' })).keptLinears).toBe(35);
  const int4 = await openCheckpoint(output);
  expect(int4.model.tensors.get('language_model.model.layers.0.mlp.up_proj.weight_scale')?.dtype).toBe('F16');
  // The same numbers as plain floats.
  const float = path.join(target, 'float');
  cpSync(TINY, float, { recursive: true });
  editTensors(path.join(float, 'model.safetensors'), (tensors) => {
    for (const [name, weights] of values) {
      tensors.set(name, { ...tensors.get(name)!, data: Buffer.from(weights.buffer.slice(0)) });
    }
  });
  const reference = await openCheckpoint(float);
  const scenes = randomScenes(reference.model, 2, 5);
  const open = ENGINES[backend]!;
  const expected = await predict(open, reference, scenes);
  const actual = await predict(open, int4, scenes);
  const { meanKl, sameToken, rows } = compare(expected, actual, 512);
  expect(rows).toBe(80);
  // What is no linear became bfloat16; the cpu backend also rounds activations to 8 bits for int4 weights.
  expect(meanKl).toBeLessThan(backend === 'onnx' ? 1e-4 : 2e-3);
  expect(sameToken).toBeGreaterThan(backend === 'onnx' ? 0.95 : 0.85);
});
