/** Attention that backends hand out, against the recorded reference and against each other. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine, HeadId } from '#sdk/engine/engine.js';
import { openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import { openModel } from '#sdk/engine/tensorrt/open-model.js';
import { findGoldenFolder } from '../../calibration/verify/golden-folder.js';
import { readCase } from '../../calibration/verify/text-checks.js';
import { goldenAttention } from '../support/golden-attention.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { TensorRtExecutor } from '../support/tensorrt-executor.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-taps-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = path.join(GOLDEN, 'tiny-a');
const { int4, dequantized } = makeInt4Checkpoint(tinyA, folder, 32);

const HEADS: readonly HeadId[] = [1, 3].flatMap((layer) => [0, 1, 2, 3].map((head) => ({ layer, head })));
const TOKENS_PER_TILE = 17;
const numerics = 'hf-4.45'; // the recorded reference's
type Open = (checkpoint: Checkpoint) => Promise<Engine>;
/** The lowered graphs in ONNX Runtime, with stand-ins for the plugins; no TensorRT is here. */
const tensorRt =
  (mode: 'plugin' | 'native', type: 'float32' | 'float16', chosen: typeof numerics | 'meta' = numerics): Open =>
  (checkpoint) => {
    const types = { decoderType: type, visionType: 'float32' } as const;
    const host = { addon: new TensorRtExecutor(), identity: 'test', types };
    const options = { cacheDirectory, contextLength: 128, mode, numerics: chosen, attentionTaps: true };
    return openModel(host, checkpoint, options);
  };
const engines: Record<string, { open: Open; tolerance: number }> = {
  'cpu, float32 cache': {
    open: (checkpoint) => openCpuEngine(checkpoint, { cacheDirectory, numerics, keyValueType: 'f32' }),
    tolerance: 1e-4,
  },
  'cpu, float16 cache': {
    open: (checkpoint) => openCpuEngine(checkpoint, { cacheDirectory, numerics }),
    tolerance: 5e-3,
  },
  'cpu, int8 cache': {
    open: (checkpoint) => openCpuEngine(checkpoint, { cacheDirectory, numerics, keyValueType: 'int8' }),
    tolerance: 0.05,
  },
  onnx: { open: (checkpoint) => openOnnxEngine(checkpoint, { cacheDirectory, numerics }), tolerance: 1e-4 },
  'tensorrt (plugin graphs in ONNX Runtime), float32': { open: tensorRt('plugin', 'float32'), tolerance: 1e-4 },
  'tensorrt (native graphs in ONNX Runtime), float16': { open: tensorRt('native', 'float16'), tolerance: 5e-3 },
};

test.each(Object.entries(engines))(
  '%s attends as the recorded reference does',
  async (_, { open, tolerance }) => {
    const checkpoint = await openCheckpoint(tinyA);
    await using engine = await open(checkpoint);
    const golden = await findGoldenFolder(GOLDEN, 'tiny-a');
    for (const name of ['img1_first', 'img1_chat']) {
      const { tensors, prompts } = await readCase(golden, name, checkpoint);
      const [{ tokens, images }] = prompts as [(typeof prompts)[number]];
      const [picture] = images;
      const { tileSize } = checkpoint.model.architecture.vision;
      using image = await engine.encodeImage({ ...syntheticImage(ARRANGEMENTS.single, 1, tileSize), ...picture! });
      const attention = { heads: HEADS, tokens: [...tokens.keys()].filter((token) => token >= picture!.tokenIndex) };
      const result = await engine.createSequence().forward(tokens, {
        images: [{ image, tokenIndex: picture!.tokenIndex }],
        logits: 'last',
        attention,
      });
      const { weights, visionTokens } = result.attention!;
      expect(visionTokens).toBe(picture!.numTiles * TOKENS_PER_TILE);
      for (const [h, head] of HEADS.entries()) {
        const expected = goldenAttention(checkpoint, tensors, head, visionTokens);
        for (const [t, token] of attention.tokens.entries()) {
          const start = (h * attention.tokens.length + t) * visionTokens;
          const found = weights.subarray(start, start + visionTokens);
          expect(maxDifference(found, Float32Array.from(expected[token]!))).toBeLessThan(tolerance);
        }
      }
    }
  },
  60_000,
);

test('int4 attends on own kernels, and in the graphs for TensorRT, as the same weights in float on onnx', async () => {
  const checkpoint = await openCheckpoint(int4);
  await using cpu = await openCpuEngine(checkpoint, { cacheDirectory, keyValueType: 'f32' });
  await using plugin = await tensorRt('plugin', 'float16', 'meta')(checkpoint);
  await using native = await tensorRt('native', 'float16', 'meta')(checkpoint);
  await using onnx = await openOnnxEngine(await openCheckpoint(dequantized), { cacheDirectory });
  const tokens = Int32Array.of(500, 512, 44, 7, 512, 190, 456, 78);
  const found = await Promise.all(
    [onnx, cpu, plugin, native].map(async (engine) => {
      const images = [
        { image: await engine.encodeImage(syntheticImage(ARRANGEMENTS.wide, 1)), tokenIndex: 1 },
        { image: await engine.encodeImage(syntheticImage(ARRANGEMENTS.square, 2)), tokenIndex: 4 },
      ];
      const attention = { heads: HEADS, tokens: [...tokens.keys()] };
      return (await engine.createSequence().forward(tokens, { images, logits: 'last', attention })).attention!.weights;
    }),
  );
  const [expected, ofCpu, ofPlugins, ofOperators] = found as [Float32Array, Float32Array, Float32Array, Float32Array];
  expect(maxDifference(ofCpu, expected)).toBeLessThan(0.1); // activations are rounded to bytes there
  expect(maxDifference(ofPlugins, expected)).toBeLessThan(2e-2);
  expect(maxDifference(ofOperators, expected)).toBeLessThan(2e-2);
}, 60_000);
