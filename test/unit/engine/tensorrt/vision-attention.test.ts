/** What is read off TensorRT's inspector, and what happens where the builder has no memory for attention as a whole. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { LogLevel } from '#sdk/core/logger.js';
import { openModel } from '#sdk/engine/tensorrt/open-model.js';
import { makeSyntheticModel, SELF_TEST_ARCHITECTURE } from '#sdk/engine/tensorrt/self-test/synthetic-model.js';
import {
  countFusedAttention,
  describeVisionAttention,
  type VisionAttention,
} from '#sdk/engine/tensorrt/vision-attention.js';
import { type ExecutorOptions, NativeError, TensorRtExecutor } from '../../../support/tensorrt-executor.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-attention-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fusedLayer = (index: number) => ({
  Name: `_gemm_mha_v2_myl0_${index}`,
  LayerType: 'kgen',
  TacticName: `_gemm_mha_v2_0x957a2fe283f77dcf_${index}`,
  Metadata: '[ONNX Layer: vision.layer_0.MatMul]',
});
const softmaxLayer = { Name: '__myl_MaxSubExpSum_myl0_4', LayerType: 'kgen', TacticName: '__myl_MaxSubExpSum_0x1' };
const told = (...layers: readonly unknown[]) => JSON.stringify({ Layers: layers, Bindings: ['pixel_values'] });

describe('the inspector', () => {
  test('fused attention is known by the names of its kernels, in full and in short reports', () => {
    expect(countFusedAttention(told(fusedLayer(1), softmaxLayer, fusedLayer(2)))).toBe(2);
    expect(countFusedAttention(told('_gemm_mha_v2_myl0_17', '_gemv_mha_v1_myl0_3', 'gemm'))).toBe(2);
    const flash = { Name: 'x', TacticName: 'fmha_v2_flash_attention_bf16_64_32_S_qkv_80_sm80_kernel_nl_tiled' };
    expect(countFusedAttention(told(flash))).toBe(1);
    expect(countFusedAttention(told(softmaxLayer, { Name: 'alphama' }))).toBe(0);
    for (const other of ['', '{}', 'null', '{"Layers": 3}', 'not JSON'])
      expect(countFusedAttention(other)).toBeUndefined();
  });

  test('is put in words', () => {
    expect(describeVisionAttention({ fused: 80, expected: 80, grouped: false })).toBe(
      'Attention of the vision tower: fused in all 80 places',
    );
    expect(describeVisionAttention({ fused: 0, expected: 80, grouped: false })).toContain(': not fused; pictures take');
    expect(describeVisionAttention({ fused: 8, expected: 320, grouped: true })).toContain(
      'in 8 of 320 places, heads in groups',
    );
  });
});

/** The tower of the self-test's model: three layers, two heads. */
async function open(cacheDirectory: string, options: ExecutorOptions) {
  const addon = new TensorRtExecutor(options);
  const log: string[] = [];
  const found: VisionAttention[] = [];
  const checkpoint = await makeSyntheticModel(path.join(folder, 'model'));
  const engine = await openModel({ addon, identity: 'test' }, checkpoint, {
    mode: 'plugin',
    contextLength: 64,
    cacheDirectory,
    vision: 'full',
    onlyVision: true,
    onVisionAttention: (each) => found.push(each),
    logger: { log: (level: LogLevel, message: string) => void log.push(`${level} ${message}`) },
  });
  await engine[Symbol.asyncDispose]();
  return { addon, log, found };
}

const outOfMemory: ExecutorOptions['onBuild'] = ({ name }) => {
  if (name === 'vision-full') throw new NativeError('ERR_ENGINE_OUT_OF_MEMORY', 'Could not find any implementation');
};

describe('the plan of the tower', () => {
  const layers = SELF_TEST_ARCHITECTURE.vision.localLayers + SELF_TEST_ARCHITECTURE.vision.globalLayers;

  test('is asked what became of attention, and has all the scratch there is', async () => {
    const requests: { name: string; inspected: boolean; workspaceBytes: number }[] = [];
    const { log, found, addon } = await open(path.join(folder, 'fused'), {
      layers: () => told(...Array.from({ length: 2 * layers }, (_, i) => fusedLayer(i))),
      onBuild: (request) => void requests.push(request),
    });
    expect(found).toEqual([{ fused: 2 * layers, expected: 2 * layers, grouped: false }]);
    expect(log).toContain(`info Attention of the vision tower: fused in all ${2 * layers} places`);
    expect(addon.built).toEqual(['vision-full', 'cross-kv']);
    expect(requests).toEqual([
      expect.objectContaining({ name: 'vision-full', inspected: true, workspaceBytes: 0 }),
      expect.objectContaining({ name: 'cross-kv', inspected: false, workspaceBytes: 2 ** 30 }),
    ]);
  });

  test('says when attention is not fused', async () => {
    const { log, found } = await open(path.join(folder, 'unfused'), { layers: () => told(softmaxLayer) });
    expect(found).toEqual([{ fused: 0, expected: 2 * layers, grouped: false }]);
    expect(log).toContainEqual(expect.stringMatching(/^warn Attention of the vision tower: not fused/));
  });

  test('is built with heads in groups where there was no memory for all, and taken again at the next start', async () => {
    const cache = path.join(folder, 'grouped');
    const first = await open(cache, { onBuild: outOfMemory, layers: () => told() });
    expect(first.addon.built).toEqual(['vision-full-grouped', 'cross-kv']);
    expect(first.log).toContainEqual(
      expect.stringMatching(/^warn TensorRT had no memory to build the plan vision-full;/),
    );
    // Two heads are two groups.
    expect(first.found).toEqual([{ fused: 0, expected: 2 * 2 * layers, grouped: true }]);
    const [entry] = readdirSync(path.join(cache, 'tensorrt'));
    expect(readdirSync(path.join(cache, 'tensorrt', entry!)).filter((name) => name.endsWith('.partial'))).toEqual([]);
    const second = await open(cache, { layers: () => told() });
    expect(second.addon.built).toEqual([]);
    expect(second.found[0]?.grouped).toBe(true);
  });

  test('that fails for another reason fails', async () => {
    const refused: ExecutorOptions['onBuild'] = () => {
      throw new NativeError('ERR_MODEL_UNSUPPORTED', 'no such operator');
    };
    const opening = open(path.join(folder, 'refused'), { onBuild: refused });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_MODEL_UNSUPPORTED' });
  });
});
