/** Models that others quantised: which scheme a linear has, and what of their variety opens. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packedForm } from '#sdk/architecture/packed-form.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { quantizationOf } from '#sdk/checkpoint/quantization.js';
import { makeInt4Checkpoint } from '../../support/int4-checkpoint.js';
import { editJson, editTensors, GOLDEN, temporaryFolder } from './checkpoint-folder.js';

const weights = (num_bits: number, more: object = { strategy: 'group', group_size: 128 }) => ({
  num_bits,
  type: 'int',
  symmetric: true,
  ...more,
});
const config = (...groups: object[]) => ({
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  config_groups: Object.fromEntries(groups.map((group, i) => [`group_${i}`, group])),
});

describe('quantizationOf', () => {
  test('is null without a config', () => {
    expect(quantizationOf(undefined)).toBeNull();
    expect(quantizationOf(null)).toBeNull();
  });

  test('takes names before expressions and those before classes, whatever their order', () => {
    const scheme = quantizationOf(
      config(
        { targets: ['Linear'], weights: weights(4) },
        { targets: ['re:.*lm_head'], weights: weights(8, { strategy: 'channel', group_size: null }) },
        { targets: ['language_model.lm_head'], weights: weights(8, { strategy: 'group', group_size: 32 }) },
      ),
    )!;
    expect(scheme.int4).toEqual({ bits: 4, groupSize: 128 });
    expect(scheme.schemeOf(['language_model.lm_head'])).toEqual({ bits: 8, groupSize: 32 });
    expect(scheme.schemeOf(['lm_head'])).toEqual({ bits: 8, groupSize: 0 });
    expect(scheme.schemeOf(['model.language_model.layers.0.mlp.up_proj'])).toEqual({ bits: 4, groupSize: 128 });
  });

  test('matches expressions from the beginning of a name', () => {
    const scheme = quantizationOf(config({ targets: ['re:lm_head', 're:model.*up_proj$'], weights: weights(4) }))!;
    expect(scheme.schemeOf(['language_model.lm_head'])).toBeUndefined();
    expect(scheme.schemeOf(['language_model.lm_head', 'lm_head'])).toBeDefined();
    expect(scheme.schemeOf(['model.layers.0.mlp.up_proj'])).toBeDefined();
    expect(scheme.schemeOf(['model.layers.0.mlp.up_proj.more'])).toBeUndefined();
  });

  test.each([
    ['re:(?i).*LM_HEAD$', 'model.lm_head', true],
    ['re:(?is).*MLP', 'model.mlp', true],
    ['re:.*LM_HEAD$', 'model.lm_head', false],
    ['re:(?P<kind>q|k)_proj_(?P=kind)$', 'q_proj_q', true],
    ['re:(?P<kind>q|k)_proj_(?P=kind)$', 'q_proj_k', false],
    ['re:[(?P<]+x', '(?P<x', true],
    ['re:\\A.*_proj\\Z', 'q_proj', true],
    ['re:\\A.*_proj\\Z', 'q_proj.weight', false],
    ['re:^(?!.*lm_head).*', 'model.lm_head', false],
  ])('takes %s as Python does: %s', (target, name, isMatch) => {
    const scheme = quantizationOf(config({ targets: [target], weights: weights(4) }))!;
    expect(scheme.schemeOf([name]) !== undefined).toBe(isMatch);
  });

  test.each(['re:(.*)*x$', 're:(?:a|a|[a-z_.0-9]+)*!', `re:${'.*'.repeat(40)}!`])(
    'gives up an expression that takes forever: %s',
    (target) => {
      const scheme = quantizationOf(config({ targets: [target], weights: weights(4) }))!;
      expect(() => scheme.schemeOf(['language_model.model.layers.0.self_attn.q_proj'])).toThrow(
        expect.objectContaining({
          code: 'ERR_MODEL_INVALID',
          message: expect.stringMatching(/no usable regular expression: "re:.*timed out/),
        }),
      );
    },
  );

  test('refuses expressions beyond any use', () => {
    const given = config({ targets: [`re:${'a'.repeat(10_000)}`], weights: weights(4) });
    expect(() => quantizationOf(given)).toThrow(/more than 4096 characters/);
  });

  test('reads the fields that writers leave out or write in other ways', () => {
    const open = (more: object) => quantizationOf(config({ targets: ['Linear'], weights: weights(4, more) }))!.int4;
    expect(open({ group_size: 64 }).groupSize).toBe(64);
    expect(open({ group_size: -1 }).groupSize).toBe(0);
    expect(open({}).groupSize).toBe(0);
    for (const actorder of [null, false, 'static', 'weight']) expect(open({ actorder }).groupSize).toBe(0);
    const inGroup = {
      quant_method: 'compressed-tensors',
      config_groups: { g: { format: 'pack-quantized', weights: weights(4) } },
    };
    expect(quantizationOf(inGroup)?.schemeOf(['anything'])).toEqual({ bits: 4, groupSize: 128 });
  });

  const group = (more: object = {}, weightsToo: object = {}) => ({
    targets: ['Linear'],
    weights: { ...weights(4), ...weightsToo },
    ...more,
  });
  const rotation = { config_groups: { R1: { type: 'hadamard', apply: [{ targets: ['Linear'], location: 'input' }] } } };

  test.each([
    ['transform_config', { ...config(group()), transform_config: rotation }, /transform_config/],
    [
      'sparsity_config',
      { ...config(group()), sparsity_config: { format: 'sparse-24-bitmask' } },
      /sparsity_config.*24/,
    ],
    ['output_activations', config(group({ output_activations: { num_bits: 8 } })), /output_activations/],
    ['input_activations', config(group({ input_activations: { num_bits: 8 } })), /input_activations/],
    ['weights.dynamic', config(group({}, { dynamic: true })), /weights.dynamic true/],
  ])('refuses %s, which would change the numbers', (_, given, message) => {
    expect(() => quantizationOf(given)).toThrow(message);
    expect(() => quantizationOf(given)).toThrow(expect.objectContaining({ code: 'ERR_MODEL_UNSUPPORTED' }));
  });

  test.each([
    { transform_config: null },
    { transform_config: {} },
    { transform_config: { config_groups: {} } },
    { sparsity_config: {} },
    { sparsity_config: { format: 'dense', registry_requires_subclass: false } },
    { kv_cache_scheme: { num_bits: 8, type: 'float' } },
  ])('takes what changes nothing: %j', (more) => {
    expect(quantizationOf({ ...config(group({}, { dynamic: false })), ...more })).not.toBeNull();
  });

  test('refuses two group sizes of 4 bits', () => {
    const two = config(
      { targets: ['re:.*mlp.*'], weights: weights(4) },
      { targets: ['Linear'], weights: weights(4, { strategy: 'group', group_size: 32 }) },
    );
    expect(() => quantizationOf(two)).toThrow(/two group sizes \(128 and 32\)/);
  });
});

describe('a folder quantised by others', () => {
  const head = 'language_model.lm_head';
  const up = 'language_model.model.layers.0.mlp.up_proj';
  const down = 'language_model.model.layers.0.mlp.down_proj';
  const make = (groupSize: number | 'channel', options: { head?: 'int8' | 'float' } = {}) =>
    makeInt4Checkpoint(join(GOLDEN, 'tiny-a'), temporaryFolder(), groupSize, options).int4;

  test('opens by channel, with an 8-bit head', async () => {
    const { model } = await openCheckpoint(make('channel', { head: 'int8' }));
    expect(model.int4).toEqual({ bits: 4, groupSize: 0 });
    expect(packedForm(model, up)).toEqual({ rows: 128, columns: 64, bits: 4, groupSize: 64 });
    expect(packedForm(model, down)).toEqual({ rows: 64, columns: 128, bits: 4, groupSize: 128 });
    expect(packedForm(model, head)).toEqual({ rows: 512, columns: 64, bits: 8, groupSize: 64 });
    expect(model.tensors.get(`${up}.weight_scale`)?.shape).toEqual([128, 1]);
  });

  test('opens with the names of newer transformers', async () => {
    const folder = make(32, { head: 'int8' });
    editTensors(join(folder, 'model.safetensors'), (tensors) => {
      for (const [name, tensor] of [...tensors]) {
        tensors.delete(name);
        const renamed = name.startsWith(head)
          ? name.replace('language_model.', '')
          : `model.${name.replace('language_model.model.', 'language_model.')}`;
        tensors.set(renamed, tensor);
      }
    });
    editJson(join(folder, 'config.json'), ({ quantization_config: quantization }) => {
      quantization.config_groups.group_1.targets = ['lm_head'];
    });
    const { model } = await openCheckpoint(folder);
    expect(packedForm(model, head).bits).toBe(8);
    expect(packedForm(model, up)).toMatchObject({ bits: 4, groupSize: 32 });
  });

  test.each<[string, (tensors: Parameters<Parameters<typeof editTensors>[1]>[0]) => void, RegExp]>([
    [
      'scales of a group in a model by channel',
      (tensors) => tensors.set(`${up}.weight_scale`, { dtype: 'F32', shape: [128, 2], data: Buffer.alloc(1024) }),
      /up_proj.weight_scale: config.json implies \[128, 1\], the file has \[128, 2\]/,
    ],
    [
      'a stated shape of another product at 8 bits',
      (tensors) => tensors.get(`${head}.weight_shape`)!.data.writeBigInt64LE(128n, 8),
      /lm_head.weight_shape states \[512, 128\], but the packed weight is \[512, 64\]/,
    ],
    [
      'a scale that is NaN at 8 bits',
      (tensors) => tensors.get(`${head}.weight_scale`)!.data.writeFloatLE(Number.NaN, 8),
      /lm_head.weight_scale: 1 of its values are not finite/,
    ],
  ])('does not open with %s', async (_, edit, message) => {
    const folder = make('channel', { head: 'int8' });
    editTensors(join(folder, 'model.safetensors'), edit);
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test('keeps every value of the 8-bit head', async () => {
    const folder = make(64, { head: 'int8' });
    const { model } = await openCheckpoint(folder);
    const { file, offsetBytes, sizeBytes } = model.tensors.get(`${head}.weight_packed`)!;
    const bytes = readFileSync(file).subarray(offsetBytes, offsetBytes + sizeBytes);
    const scales = readTensorF32(model.tensors.get(`${head}.weight_scale`)!);
    const exact = readTensorF32((await openCheckpoint(join(GOLDEN, 'tiny-a'))).model.tensors.get(`${head}.weight`)!);
    for (const [i, value] of exact.entries()) {
      const scale = scales[Math.floor(i / 64)]!;
      expect(Math.abs((bytes[i]! - 128) * scale - value)).toBeLessThanOrEqual(0.501 * scale);
    }
  });
});
