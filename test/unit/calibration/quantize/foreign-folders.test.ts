import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { openForeignSource } from '#calibration/quantize/sources/open-source.js';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { type ForeignKind, makeForeignCheckpoint } from '../../../support/foreign-checkpoint.js';
import { editJson, editTensors, GOLDEN, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const TINY = join(GOLDEN, 'tiny-a');
const from = (kind: ForeignKind) => (kind === 'gptq_v2' ? 'gptq' : kind === 'mlx-bf16' ? 'mlx' : kind);

/** The values of a packed weight, by the convention's own words. */
function unpack({ tensors }: ModelDescription, name: string): Float32Array {
  const { file, offsetBytes, sizeBytes, shape } = tensors.get(`${name}_packed`)!;
  const packed = readFileSync(file).subarray(offsetBytes, offsetBytes + sizeBytes);
  const scales = readTensorF32(tensors.get(`${name}_scale`)!);
  const [rows, inputs] = [shape[0]!, shape[1]! * 8];
  const perGroup = inputs / (scales.length / rows);
  return Float32Array.from({ length: rows * inputs }, (_, i) => {
    const q = ((i % 2 === 0 ? packed[i >> 1]! : packed[i >> 1]! >> 4) & 15) - 8;
    return q * scales[Math.floor(i / inputs) * (inputs / perGroup) + Math.floor((i % inputs) / perGroup)]!;
  });
}

/** `toEqual` takes seconds for arrays of this size. A zero has a sign that nobody means. */
function sameBits(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

describe.each<ForeignKind>(['gptq', 'gptq_v2', 'awq', 'mlx', 'compressed-tensors'])('a folder of %s', (kind) => {
  test('is read to the values that were packed, zero points included', async () => {
    const { folder, values } = makeForeignCheckpoint(TINY, temporaryFolder(), kind);
    const source = await openForeignSource(folder, 'auto', {});
    expect(values.size).toBe(35);
    for (const [name, expected] of values) {
      const tensor = source.tensors.get(name)!;
      expect(sameBits(tensor.rows(0, tensor.shape[0]!), expected), name).toBe(true);
      expect(tensor.rows(3, 2)).toEqual(expected.slice(3 * tensor.shape[1]!, 5 * tensor.shape[1]!));
    }
    const original = (await openCheckpoint(TINY)).model.tensors;
    for (const name of ['vision_model.patch_embedding.weight', 'language_model.lm_head.weight']) {
      const tensor = source.tensors.get(name)!;
      expect(sameBits(tensor.rows(0, tensor.shape[0]!), readTensorF32(original.get(name)!)), name).toBe(true);
    }
  });

  test('becomes a folder that opens, with the groups it had', async () => {
    const { folder, values } = makeForeignCheckpoint(TINY, temporaryFolder(), kind);
    const output = join(temporaryFolder(), 'int4');
    const result = await quantizeCheckpoint({ source: folder, output, from: from(kind) as 'gptq' });
    expect(result).toMatchObject({ groupSize: 32, quantizedLinears: 35, keptLinears: 0 });
    const { model, warnings } = await openCheckpoint(output);
    expect(warnings).toEqual([]);
    let error = 0;
    let square = 0;
    for (const [name, expected] of values) {
      const got = unpack(model, name);
      for (const [i, value] of expected.entries()) {
        error += (got[i]! - value) ** 2;
        square += value ** 2;
      }
    }
    expect(Math.sqrt(error / square)).toBeCloseTo(result.relativeError, 6);
    expect(result.relativeError).toBeLessThan(0.07);
    const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'));
    expect(config.quantization).toBeUndefined();
    expect(config.quantization_config.quant_method).toBe('compressed-tensors');
  });
});

test.each<ForeignKind>(['gptq', 'gptq_v2', 'awq', 'compressed-tensors'])(
  'symmetric int4 of %s is kept to the bit, nothing is rounded',
  async (kind) => {
    const { folder, values } = makeForeignCheckpoint(TINY, temporaryFolder(), kind, { symmetric: true, groupSize: 64 });
    const output = join(temporaryFolder(), 'int4');
    const result = await quantizeCheckpoint({ source: folder, output, from: 'auto' });
    expect(result).toMatchObject({ groupSize: 64, keptLinears: 35, relativeError: 0 });
    const { model } = await openCheckpoint(output);
    for (const [name, expected] of values) expect(sameBits(unpack(model, name), expected), name).toBe(true);
    // Smaller groups share the scale of the larger one; larger ones must be rounded again.
    const smaller = await quantizeCheckpoint({ source: folder, output: `${output}-32`, from: 'auto', groupSize: 32 });
    expect(smaller).toMatchObject({ groupSize: 32, keptLinears: 35, relativeError: 0 });
    const { model: again } = await openCheckpoint(`${output}-32`);
    for (const [name, expected] of values) expect(sameBits(unpack(again, name), expected), name).toBe(true);
    const halves = makeForeignCheckpoint(TINY, temporaryFolder(), kind, { symmetric: true, groupSize: 32 }).folder;
    const larger = await quantizeCheckpoint({ source: halves, output: `${output}-64`, from: 'auto', groupSize: 64 });
    expect(larger.keptLinears).toBe(0);
    expect(larger.relativeError).toBeGreaterThan(0);
  },
);

test('a 16-bit folder of MLX gets its names and the kernel of its convolution back', async () => {
  const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'mlx-bf16');
  await expect(openCheckpoint(folder)).rejects.toThrow('MLX (mlx-vlm)');
  const [converted, plain] = ['a', 'b'].map((name) => join(temporaryFolder(), name));
  await quantizeCheckpoint({ source: folder, output: converted!, from: 'mlx', groupSize: 32 });
  await quantizeCheckpoint({ source: TINY, output: plain!, groupSize: 32 });
  const [weights, others] = [converted!, plain!].map((output) => readFileSync(join(output, 'model.safetensors')));
  expect(weights!.equals(others!)).toBe(true);
});

test('packed layers of the vision tower come back to 16 bits', async () => {
  const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'compressed-tensors', { symmetric: true });
  const name = 'vision_model.transformer.layers.0.self_attn.q_proj';
  editTensors(join(folder, 'model.safetensors'), (tensors) => {
    tensors.delete(`${name}.weight`);
    tensors.set(`${name}.weight_packed`, { dtype: 'I32', shape: [64, 8], data: Buffer.alloc(64 * 32, 0x99) });
    const scale = Buffer.from(new Float32Array(128).fill(0.25).buffer);
    tensors.set(`${name}.weight_scale`, { dtype: 'F32', shape: [64, 2], data: scale });
  });
  editJson(join(folder, 'config.json'), (config) => {
    config.quantization_config.config_groups.group_0.weights.symmetric = true;
  });
  const output = join(temporaryFolder(), 'int4');
  await quantizeCheckpoint({ source: folder, output, from: 'compressed-tensors' });
  const { model } = await openCheckpoint(output);
  expect(readTensorF32(model.tensors.get(`${name}.weight`)!).every((value) => value === 0.25)).toBe(true);
});

test.each([true, false])('one scale for each output (GPTQ, group_size −1), symmetric: %s', async (symmetric) => {
  const { folder, values } = makeForeignCheckpoint(TINY, temporaryFolder(), 'gptq', { symmetric, groupSize: -1 });
  const output = join(temporaryFolder(), 'int4');
  const result = await quantizeCheckpoint({ source: folder, output, from: 'gptq', groupSize: 64 });
  expect(result.keptLinears).toBe(symmetric ? 35 : 0);
  if (!symmetric) return expect(result.relativeError).toBeLessThan(0.07);
  const { model } = await openCheckpoint(output);
  for (const [name, expected] of values) expect(sameBits(unpack(model, name), expected), name).toBe(true);
});

test('a folder of MLX may have packed all that is a matrix', async () => {
  const { folder, values } = makeForeignCheckpoint(TINY, temporaryFolder(), 'mlx', { everything: true });
  const source = await openForeignSource(folder, 'mlx', {});
  const names = ['language_model.model.embed_tokens', 'language_model.lm_head', 'multi_modal_projector'];
  for (const name of [...names, 'vision_model.transformer.layers.0.mlp.fc1'].map((each) => `${each}.weight`)) {
    const tensor = source.tensors.get(name)!;
    expect(sameBits(tensor.rows(0, tensor.shape[0]!), values.get(name)!), name).toBe(true);
  }
  const output = join(temporaryFolder(), 'int4');
  expect((await quantizeCheckpoint({ source: folder, output, from: 'auto' })).quantizedLinears).toBe(35);
});

test('goes on where it was stopped, with the same bytes', async () => {
  const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'awq');
  const [whole, resumed] = ['whole', 'resumed'].map((name) => join(temporaryFolder(), name));
  await quantizeCheckpoint({ source: folder, output: whole!, from: 'awq' });
  // Behind the packed words, before all of their scales.
  const stop = new AbortController();
  const onProgress = ({ done, total }: { done: number; total: number }) => {
    if (done > total * 0.45) stop.abort(new Error('enough'));
  };
  const options = { source: folder, output: resumed!, from: 'awq', journalBytes: 1 } as const;
  await expect(quantizeCheckpoint({ ...options, signal: stop.signal, onProgress })).rejects.toThrow('enough');
  const seen: number[] = [];
  await quantizeCheckpoint({ ...options, onProgress: ({ done, total }) => void seen.push(done / total) });
  expect(seen[0]).toBeGreaterThan(0.3);
  const [weights, others] = [whole!, resumed!].map((output) => readFileSync(join(output, 'model.safetensors')));
  expect(weights!.equals(others!)).toBe(true);
});

describe('--from', () => {
  test('is refused for another format, for plain weights and for what cannot be converted', async () => {
    const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'awq');
    await expect(openForeignSource(folder, 'gptq', {})).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining('Expected a folder in the format gptq, but'),
    });
    await expect(openForeignSource(TINY, 'auto', {})).rejects.toThrow('plain weights, which need no --from');
    editJson(join(folder, 'config.json'), (config) => {
      config.quantization_config = { quant_method: 'bitsandbytes', bnb_4bit_quant_type: 'nf4' };
    });
    await expect(openForeignSource(folder, 'auto', {})).rejects.toThrow('bitsandbytes (nf4)');
  });

  test('reports all tensors that do not fit at once, and leaves nothing behind', async () => {
    const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'gptq');
    const base = 'language_model.model.layers.0.mlp.up_proj';
    editTensors(join(folder, 'model.safetensors'), (tensors) => {
      tensors.delete(`${base}.scales`);
      tensors.set(`${base.replace('up', 'gate')}.qzeros`, { dtype: 'I32', shape: [1], data: Buffer.alloc(4) });
    });
    const target = temporaryFolder();
    await expect(quantizeCheckpoint({ source: folder, output: join(target, 'x'), from: 'gptq' })).rejects.toMatchObject(
      {
        code: 'ERR_MODEL_INVALID',
        details: {
          problems: [
            expect.stringContaining('gate_proj: qzeros: config.json implies [2, 16]'),
            `${base}: scales [2, 128] is missing`,
          ],
        },
      },
    );
    expect(readdirSync(target)).toEqual([]);
  });

  test('does not calibrate', async () => {
    const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'gptq');
    const output = join(temporaryFolder(), 'x');
    await expect(quantizeCheckpoint({ source: folder, output, from: 'gptq', method: 'awq' })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
  });

  test('hands on no file that describes how another tool wrote the weights', async () => {
    const { folder } = makeForeignCheckpoint(TINY, temporaryFolder(), 'gptq');
    for (const name of ['quantize_config.json', 'hf_quant_config.json', 'recipe.yaml', 'README.md']) {
      writeFileSync(join(folder, name), '{}');
    }
    const output = join(temporaryFolder(), 'int4');
    await quantizeCheckpoint({ source: folder, output, from: 'gptq' });
    expect(readdirSync(output).sort()).toEqual(
      ['README.md', 'config.json', 'generation_config.json', 'model.safetensors', 'preprocessor_config.json'].sort(),
    );
  });
});
