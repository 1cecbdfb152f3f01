import { describe, expect, test } from 'vitest';
import { type ErrorCode, SdkError } from '#sdk/core/errors.js';
import type { EngineCheckpoint } from '#sdk/engine/options.js';
import { openEngine } from '#sdk/model/backends.js';
import { FakeEngine } from '../../support/engine.js';

const checkpoint = { name: 'tiny' } as EngineCheckpoint;
const works = new FakeEngine(() => 0);
const able = async () => works;
const fails = (code: ErrorCode) => async () => {
  throw new SdkError(code, `refused with ${code}`);
};

describe('openEngine', () => {
  test('auto takes the first that can run the model here', async () => {
    expect(await openEngine({ cpu: fails('ERR_ENGINE_INCOMPATIBLE'), onnx: able }, 'auto', checkpoint, {})).toBe(works);
    expect(await openEngine({ cpu: able, onnx: fails('ERR_ENGINE_FAILED') }, 'auto', checkpoint, {})).toBe(works);
  });

  test('auto does not hide a failure that another backend would share', async () => {
    const backends = { cpu: fails('ERR_DISK_FULL'), onnx: able };
    await expect(openEngine(backends, 'auto', checkpoint, {})).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
    const bug = async () => {
      throw new TypeError('bug');
    };
    await expect(openEngine({ cpu: bug, onnx: able }, 'auto', checkpoint, {})).rejects.toThrow(TypeError);
  });

  test('auto with none able gives every reason', async () => {
    const backends = { cpu: fails('ERR_NATIVE_UNAVAILABLE'), onnx: fails('ERR_MODEL_UNSUPPORTED') };
    await expect(openEngine(backends, 'auto', checkpoint, {})).rejects.toMatchObject({
      code: 'ERR_ENGINE_INCOMPATIBLE',
      message: expect.stringMatching(/cpu: .*NATIVE_UNAVAILABLE\n.*onnx: .*MODEL_UNSUPPORTED/),
    });
  });

  test('a named backend is opened or its own error thrown', async () => {
    const backends = { cpu: fails('ERR_ENGINE_INCOMPATIBLE'), onnx: able };
    expect(await openEngine(backends, 'onnx', checkpoint, {})).toBe(works);
    await expect(openEngine(backends, 'cpu', checkpoint, {})).rejects.toThrow('refused with');
  });

  test.each(['remote', 'toString', ''])('refuses the name %o', async (name) => {
    await expect(openEngine({ onnx: able }, name, checkpoint, {})).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
  });
});
