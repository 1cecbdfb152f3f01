import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { TensorRtHost } from '#sdk/engine/tensorrt/host.js';
import { openModel } from '#sdk/engine/tensorrt/open-model.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { TensorRtExecutor } from '../support/tensorrt-executor.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';
import { describeEngine, type OpenTinyEngine } from './engine.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-contract-tensorrt-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = path.join(GOLDEN, 'tiny-a');
const { int4 } = makeInt4Checkpoint(tinyA, folder, 32);

const float32 = { decoderType: 'float32', visionType: 'float32' } as const;
const open =
  (directory: string, mode: 'plugin' | 'native', types?: TensorRtHost['types']): OpenTinyEngine =>
  async ({ contextLength = 400, ...options }) =>
    openModel({ addon: new TensorRtExecutor(), identity: 'test', types }, await openCheckpoint(directory), {
      ...options,
      contextLength,
      mode,
      cacheDirectory,
      attentionTaps: true,
    });

// Four decoders that share their weights, and one decoder for everything; in float32 first, where only order rounds.
describeEngine('tensorrt (graphs in ONNX Runtime), int4, plugin mode, float32', open(int4, 'plugin', float32));
describeEngine('tensorrt (graphs in ONNX Runtime), int4, native mode, float32', open(int4, 'native', float32));
// As devices run it: K/V, products and cross-attention in float16; the vision tower's bfloat16 is computed in float32.
describeEngine('tensorrt (graphs in ONNX Runtime), float', open(tinyA, 'plugin'), { tolerance: 2e-2 });
