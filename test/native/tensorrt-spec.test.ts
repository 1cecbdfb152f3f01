/** The two sides of the addon's border understand each other: what TypeScript asks for, C++ reads to the end. */
import path from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { lowerCheckpoint } from '#sdk/engine/tensorrt/lowering.js';
import { modelSpec } from '#sdk/engine/tensorrt/model-spec.js';
import { engineAddon } from '#sdk/native/index.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { GOLDEN, temporaryFolder } from '../unit/checkpoint/checkpoint-folder.js';

const addon = engineAddon();
const status = addon.tensorRtStatus();

// Where the library and a device are there, opening would build plans: other tests' business.
test.skipIf(status.problem === null)(
  'a model that was asked for fails for want of TensorRT, not of sense',
  async () => {
    const folder = temporaryFolder();
    const { int4 } = makeInt4Checkpoint(path.join(GOLDEN, 'tiny-a'), folder, 32);
    const checkpoint = await openCheckpoint(int4);
    for (const mode of ['plugin', 'native'] as const) {
      const lowered = await lowerCheckpoint(checkpoint, {
        mode,
        numerics: 'meta',
        contextLength: 64,
        cacheDirectory: path.join(folder, 'cache'),
      });
      const spec = modelSpec('tiny', checkpoint.model, lowered);
      const flag = new Int32Array(1);
      const expected = { code: status.problem!.code, message: status.problem!.message };
      await expect(addon.openTensorRtModel(spec, () => {}, flag)).rejects.toMatchObject(expected);
      await expect(addon.buildTensorRtPlan(spec.stages[0]!.plan, () => {}, flag)).rejects.toMatchObject(expected);
      // A specification that lacks something is refused for that.
      const { stages: _, ...partless } = spec;
      const opening = async () => addon.openTensorRtModel(partless as never, () => {}, flag);
      await expect(opening()).rejects.toThrow(TypeError);
    }
  },
);

test('says what it was compiled for, and why it cannot run here if it cannot', () => {
  expect(status).toHaveProperty('compiledFor');
  if (status.problem !== null) expect(status.problem.message.length).toBeGreaterThan(20);
  else expect(status.device?.totalBytes).toBeGreaterThan(0);
});
