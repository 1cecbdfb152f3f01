/** Folders that other tools quantised or fine-tuned: named in one sentence with the way out, not by missing tensors. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { makeInt4Checkpoint } from '../../support/int4-checkpoint.js';
import {
  copyCheckpoint,
  editJson,
  editTensors,
  type FreeJson,
  GOLDEN,
  type RawTensor,
  temporaryFolder,
  writeTensors,
} from './checkpoint-folder.js';

const WEIGHTS = 'model.safetensors';
const Q_PROJ = 'language_model.model.layers.0.self_attn.q_proj';

function folderWith(config: FreeJson, rename: (name: string) => string = (name) => name): string {
  const folder = copyCheckpoint();
  editJson(join(folder, 'config.json'), (value) => Object.assign(value, config));
  editTensors(join(folder, WEIGHTS), (tensors) => {
    for (const [name, tensor] of [...tensors]) {
      tensors.delete(name);
      tensors.set(rename(name), tensor);
    }
  });
  return folder;
}

const packed = (format: string) => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    format,
    config_groups: { g: { weights: { num_bits: 8 } } },
  },
});

describe('a format that is not run as it is', () => {
  test.each<[string, FreeJson, string]>([
    ['AWQ, 4 bits in groups of 128', { quantization_config: { quant_method: 'awq', bits: 4, group_size: 128 } }, 'awq'],
    [
      'GPTQ, 4 bits by channel, checkpoint_format gptq_v2',
      { quantization_config: { quant_method: 'gptq', bits: 4, group_size: -1, checkpoint_format: 'gptq_v2' } },
      'gptq',
    ],
    ['MLX, 4 bits in groups of 64', { quantization: { bits: 4, group_size: 64 } }, 'mlx'],
    ['MLX, 8 bits in groups of 32', { quantization_config: { bits: 8, group_size: 32 } }, 'mlx'],
  ])('%s: named, with what converts it', async (name, config, from) => {
    const folder = folderWith(config);
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_UNSUPPORTED',
      message: `${folder} is in the format ${name}, which is not run as it is. \`scenebus quantize ${folder} OUTPUT --from ${from}\` converts it.`,
      details: { convertible: from },
    });
  });

  test.each<[string, FreeJson]>([
    ['bitsandbytes (nf4)', { quantization_config: { quant_method: 'bitsandbytes', bnb_4bit_quant_type: 'nf4' } }],
    ['bitsandbytes (LLM.int8())', { quantization_config: { quant_method: 'bitsandbytes', load_in_8bit: true } }],
    ['FP8', { quantization_config: { quant_method: 'fp8' } }],
    ['FP8 (compressed-tensors float-quantized)', packed('float-quantized')],
    ['NVFP4 (compressed-tensors nvfp4-pack-quantized)', packed('nvfp4-pack-quantized')],
    ['INT8 (compressed-tensors int-quantized)', packed('int-quantized')],
    ['NVIDIA ModelOpt (NVFP4)', { quantization_config: { quant_method: 'modelopt', quant_algo: 'NVFP4' } }],
    [
      'AWQ, 4 bits in groups of 64, layout gemv',
      { quantization_config: { quant_method: 'awq', bits: 4, group_size: 64, version: 'gemv' } },
    ],
    ['GPTQ, 8 bits in groups of 128', { quantization_config: { quant_method: 'gptq', bits: 8, group_size: 128 } }],
    ['HQQ', { quantization_config: { quant_method: 'hqq' } }],
  ])('%s: named, with the 16-bit checkpoint as the way out', async (name, config) => {
    const folder = folderWith(config);
    const error = await openCheckpoint(folder).catch((reason: Error) => reason as Error);
    expect(error).toMatchObject({ code: 'ERR_MODEL_UNSUPPORTED', details: { convertible: null } });
    expect((error as Error).message).toContain(`in the format ${name}`);
    expect((error as Error).message).toContain('Take the 16-bit checkpoint');
    expect((error as Error).message.split('\n')).toHaveLength(1);
  });

  test.each([
    ['MLX (mlx-vlm)', (name: string) => name.replace(/^vision_model/, 'vision_tower')],
    ['bitsandbytes', (name: string) => (name === `${Q_PROJ}.weight` ? `${name}.quant_state.bitsandbytes__nf4` : name)],
    ['GPTQ or AWQ without its', (name: string) => (name === `${Q_PROJ}.weight` ? `${Q_PROJ}.qweight` : name)],
    ['NVFP4 (NVIDIA ModelOpt)', (name: string) => (name === `${Q_PROJ}.weight` ? `${Q_PROJ}.weight_scale_2` : name)],
    ['FP8', (name: string) => (name === `${Q_PROJ}.weight` ? `${Q_PROJ}.weight_scale_inv` : name)],
  ])('%s is told by the names of its tensors', async (name, rename) => {
    await expect(openCheckpoint(folderWith({}, rename))).rejects.toThrow(`in the format ${name}`);
  });

  test('packed layers of the vision tower are one problem, not one each', async () => {
    const folder = makeInt4Checkpoint(join(GOLDEN, 'tiny-a'), temporaryFolder(), 32).int4;
    editTensors(join(folder, WEIGHTS), (tensors) => {
      for (const name of [...tensors.keys()].filter((each) => /^vision_model.*fc1\.weight$/.test(each))) {
        tensors.set(`${name}_packed`, tensors.get(name)!);
        tensors.delete(name);
      }
    });
    const error = await openCheckpoint(folder).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ERR_MODEL_INVALID' });
    const { problems } = (error as { details: { problems: string[] } }).details;
    expect(problems).toEqual([expect.stringMatching(/fc1.weight and 4 more are packed.*--from compressed-tensors/)]);
  });
});

describe('the place of the quantisation in config.json', () => {
  const int4 = () => makeInt4Checkpoint(join(GOLDEN, 'tiny-a'), temporaryFolder(), 32).int4;
  const moved = (edit: (config: FreeJson) => void) => {
    const folder = int4();
    editJson(join(folder, 'config.json'), edit);
    return openCheckpoint(folder);
  };

  test('may be compression_config, as older llm-compressor wrote it', async () => {
    const { model } = await moved((config) => {
      config.compression_config = config.quantization_config;
      delete config.quantization_config;
      delete config.compression_config.quant_method;
    });
    expect(model.int4).toEqual({ bits: 4, groupSize: 32 });
  });

  test('may be one level down, as the first integration in transformers wrote it', async () => {
    const { model } = await moved((config) => {
      const { quant_method, ...rest } = config.quantization_config;
      config.quantization_config = { quant_method, quantization_config: rest, sparsity_config: {} };
    });
    expect(model.int4).toEqual({ bits: 4, groupSize: 32 });
  });

  test('is none where a compression_config tells of sparsity alone', async () => {
    const folder = copyCheckpoint();
    editJson(join(folder, 'config.json'), (config) => {
      config.compression_config = { sparsity_config: { format: 'dense' } };
    });
    expect((await openCheckpoint(folder)).model.int4).toBeNull();
  });
});

describe('an adapter', () => {
  const CONFIG = {
    peft_type: 'LORA',
    r: 16,
    lora_alpha: 32,
    base_model_name_or_path: 'meta-llama/Llama-3.2-11B-Vision',
  };
  const writeConfig = (folder: string) => writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(CONFIG));
  const lora: RawTensor = { dtype: 'F32', shape: [2, 64], data: Buffer.alloc(512) };

  test('alone is named, with its base and what merges it', async () => {
    const folder = temporaryFolder();
    writeConfig(folder);
    writeTensors(
      join(folder, 'adapter_model.safetensors'),
      new Map([[`base_model.model.${Q_PROJ}.lora_A.weight`, lora]]),
    );
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_UNSUPPORTED',
      message: expect.stringMatching(
        /holds a LoRA adapter \(rank 16\) for meta-llama\/Llama-3.2-11B-Vision, and no model: .*merge-lora BASE/,
      ),
    });
    // Unsloth and others put the base's config.json beside it.
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'mllama' }));
    await expect(openCheckpoint(folder)).rejects.toThrow('and no model');
  });

  test('beside full weights is a warning', async () => {
    const folder = copyCheckpoint();
    writeConfig(folder);
    expect((await openCheckpoint(folder)).warnings).toEqual([
      expect.stringMatching(/adapter_config.json beside the weights is not applied: .*rank 16.*merge-lora/),
    ]);
  });

  test.each(['base_layer.weight', 'lora_A.default.weight', 'modules_to_save.default.weight'])(
    'that is not merged is recognised by %s',
    async (suffix) => {
      const folder = folderWith({}, (name) => (name === `${Q_PROJ}.weight` ? `${Q_PROJ}.${suffix}` : name));
      await expect(openCheckpoint(folder)).rejects.toMatchObject({
        code: 'ERR_MODEL_UNSUPPORTED',
        message: expect.stringMatching(/1 tensors are those of an unmerged PEFT adapter .*merge_and_unload/),
      });
    },
  );

  test('is not sought where weights are merely absent', async () => {
    const folder = copyCheckpoint();
    rmSync(join(folder, WEIGHTS));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  });
});
