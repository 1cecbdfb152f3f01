import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { readSafetensorsHeader } from '#sdk/checkpoint/safetensors.js';
import { type ErrorCode, SdkError } from '#sdk/core/errors.js';
import { copyCheckpoint, editJson, editTensors, type FreeJson, GOLDEN, temporaryFolder } from './checkpoint-folder.js';

const WEIGHTS = 'model.safetensors';

async function failureOf(folder: string): Promise<SdkError> {
  const error = await openCheckpoint(folder).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SdkError)) throw new Error(`expected an SdkError, got ${String(error)}`);
  return error;
}

async function expectFailure(folder: string, code: ErrorCode, ...parts: (string | RegExp)[]): Promise<SdkError> {
  const error = await failureOf(folder);
  expect(error.code).toBe(code);
  for (const part of parts) expect(error.message).toMatch(part);
  return error;
}

describe('openCheckpoint', () => {
  test('describes a single-file float32 checkpoint', async () => {
    const checkpoint = await openCheckpoint(join(GOLDEN, 'tiny-a'));
    expect(checkpoint.name).toBe('tiny-a');
    expect(checkpoint.model.int4).toBeNull();
    expect(checkpoint.model.architecture).toMatchObject({
      imageTokenId: 512,
      vision: { tileSize: 56, localLayers: 3, globalLayers: 2, intermediateLayersIndices: [0, 2], outputDim: 192 },
      text: {
        layers: 5,
        crossAttentionLayers: [1, 3],
        headDim: 16,
        ropeTheta: 10_000,
        ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 32 },
        vocabularySize: 512,
        embeddingRows: 520,
      },
    });
    expect(checkpoint.processor).toMatchObject({ tileSize: 56, maxTiles: 4 });
    expect(checkpoint.generation).toEqual({
      bosTokenId: 500,
      padTokenId: 504,
      eosTokenIds: [501, 508, 509],
      doSample: true,
      temperature: 0.6,
      topP: 0.9,
      topK: 0,
      minP: 0,
      repetitionPenalty: 1,
      noRepeatNgramSize: 0,
      maxNewTokens: undefined,
    });
    expect(checkpoint.warnings).toEqual([]);
    expect(checkpoint.manifest.boxes).toBeUndefined();
    expect(checkpoint.manifest.prompts.locate).toContain('{label}');
  });

  test('reads shards in bfloat16 to the values of the float32 checkpoint, rounded', async () => {
    const name = 'language_model.model.layers.1.cross_attn.q_proj.weight';
    const exact = readTensorF32((await openCheckpoint(join(GOLDEN, 'tiny-a'))).model.tensors.get(name)!);
    const rounded = readTensorF32((await openCheckpoint(join(GOLDEN, 'tiny-a-bf16'))).model.tensors.get(name)!);
    expect(rounded.length).toBe(exact.length);
    for (let i = 0; i < exact.length; i += 1) {
      expect(Math.abs(rounded[i]! - exact[i]!)).toBeLessThanOrEqual(Math.abs(exact[i]!) * 2 ** -8);
    }
  });

  test('reads single rows', async () => {
    const { model } = await openCheckpoint(join(GOLDEN, 'tiny-a'));
    const location = model.tensors.get('language_model.lm_head.weight')!;
    const all = readTensorF32(location);
    expect(readTensorF32(location, { first: 7, count: 2 })).toEqual(all.slice(7 * 64, 9 * 64));
    expect(() => readTensorF32(location, { first: 511, count: 2 })).toThrow(/rows within 0–512/);
  });

  test.each([
    ['newer transformers', (name: string) => newerName(name)],
    ['a wrapper', (name: string) => `module.${name}`],
    ['a "model." prefix', (name: string) => `model.${name}`],
  ])('accepts the tensor names of %s', async (_, rename) => {
    const folder = copyCheckpoint();
    editTensors(join(folder, WEIGHTS), (tensors) => {
      const entries = [...tensors];
      tensors.clear();
      for (const [name, tensor] of entries) tensors.set(rename(name), tensor);
    });
    const original = await openCheckpoint(join(GOLDEN, 'tiny-a'));
    const renamed = await openCheckpoint(folder);
    expect([...renamed.model.tensors.keys()]).toEqual([...original.model.tensors.keys()]);
  });

  test('ignores tensors that are no part of the model', async () => {
    const folder = copyCheckpoint();
    editTensors(join(folder, WEIGHTS), (tensors) => {
      tensors.set('model.rotary_emb.inv_freq', { dtype: 'F64', shape: [2], data: Buffer.alloc(16) });
      tensors.set('future', { dtype: 'F4_E2M1', shape: [4], data: Buffer.alloc(2) });
    });
    expect((await openCheckpoint(folder)).model.tensors.size).toBe(135);
  });

  test('reads the config layout of transformers 5', async () => {
    const folder = copyCheckpoint();
    editJson(join(folder, 'config.json'), (config) => {
      const text = config.text_config;
      text.rope_parameters = { ...text.rope_scaling, rope_theta: 10_000 };
      delete text.rope_scaling;
      delete text.rope_theta;
      config.image_token_id = config.image_token_index;
      delete config.image_token_index;
      config.vision_config.num_attention_heads = config.vision_config.attention_heads;
      delete config.vision_config.attention_heads;
    });
    const { model } = await openCheckpoint(folder);
    expect(model.architecture).toEqual((await openCheckpoint(join(GOLDEN, 'tiny-a'))).model.architecture);
  });

  test('takes stop ids from config.json when generation_config.json is absent', async () => {
    const folder = copyCheckpoint();
    rmSync(join(folder, 'generation_config.json'));
    expect((await openCheckpoint(folder)).generation).toMatchObject({
      eosTokenIds: [501, 508, 509],
      bosTokenId: 500,
      doSample: false,
    });
  });

  test('reads a manifest and fills its defaults', async () => {
    const folder = copyCheckpoint();
    writeFileSync(
      join(folder, 'scenebus.json'),
      JSON.stringify({ name: 'Demo', boxes: {}, prompts: { describe: 'What is here?' } }),
    );
    const { manifest, name } = await openCheckpoint(folder);
    expect(name).toBe('Demo');
    expect(manifest.boxes).toEqual({
      format: 'json',
      labelKey: 'label',
      boxKey: 'box',
      order: 'xyxy',
      scale: 100,
      relativeTo: 'longer-side',
      bin: 'centre',
      enforced: true,
    });
    expect(manifest.prompts.describe).toBe('What is here?');
    expect(manifest.prompts.list.length).toBeGreaterThan(0);
    writeFileSync(join(folder, 'scenebus.json'), JSON.stringify({ boxes: { scale: 'big' } }));
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'scenebus.json', 'scale');
  });

  test('takes its name from the hub cache, whose files are links', async () => {
    const cache = join(temporaryFolder(), 'models--some-org--Some-Model');
    const snapshot = join(cache, 'snapshots', 'a'.repeat(40));
    mkdirSync(snapshot, { recursive: true });
    for (const file of readdirSync(join(GOLDEN, 'tiny-a'))) {
      symlinkSync(join(GOLDEN, 'tiny-a', file), join(snapshot, file));
    }
    const { name, model } = await openCheckpoint(snapshot);
    expect(name).toBe('Some-Model');
    expect(model.tensors.get('vision_model.class_embedding')?.file).toBe(join(GOLDEN, 'tiny-a', 'model.safetensors'));
  });

  test('changes its content hash with the weights and with the config, and only then', async () => {
    const folder = copyCheckpoint();
    const hash = async () => (await openCheckpoint(folder)).contentHash();
    const first = await hash();
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(await hash()).toBe(first);
    utimesSync(join(folder, WEIGHTS), new Date(1e12), new Date(1e12));
    const touched = await hash();
    expect(touched).not.toBe(first);
    editJson(join(folder, 'config.json'), (config) => {
      config.text_config.rope_theta = 20_000;
    });
    expect(await hash()).not.toBe(touched);
  });

  test('changes its content hash with each weight, where size and time are as before', async () => {
    const folder = copyCheckpoint();
    const file = join(folder, WEIGHTS);
    const then = new Date(1e12);
    utimesSync(file, then, then);
    const hash = async () => (await openCheckpoint(folder)).contentHash();
    const hashes = new Set([await hash()]);
    const { entries } = await readSafetensorsHeader(file);
    expect(entries.length).toBeGreaterThan(50);
    for (const { offsetBytes, sizeBytes } of entries) {
      const bytes = readFileSync(file);
      const middle = offsetBytes + Math.floor(sizeBytes / 2);
      bytes[middle] = bytes[middle]! ^ 1;
      writeFileSync(file, bytes);
      utimesSync(file, then, then);
      hashes.add(await hash());
    }
    expect(hashes.size).toBe(entries.length + 1);
  });

  test('has the same content hash wherever the checkpoint lies', async () => {
    const [here, there] = [copyCheckpoint(), copyCheckpoint()];
    for (const folder of [here, there]) utimesSync(join(folder, WEIGHTS), new Date(1e12), new Date(1e12));
    expect(await (await openCheckpoint(here)).contentHash()).toBe(await (await openCheckpoint(there)).contentHash());
  });

  test('has one identity on every machine, whatever the times of its files, until a weight is another', async () => {
    const [here, there] = [copyCheckpoint(), copyCheckpoint()];
    utimesSync(join(there, WEIGHTS), new Date(1e12), new Date(1e12));
    const identity = async (folder: string) => (await openCheckpoint(folder)).identity();
    expect(await identity(here)).toBe(await identity(there));
    const bytes = readFileSync(join(there, WEIGHTS));
    const { entries } = await readSafetensorsHeader(join(there, WEIGHTS));
    const middle = entries[0]!.offsetBytes + Math.floor(entries[0]!.sizeBytes / 2);
    bytes[middle] = bytes[middle]! ^ 1;
    writeFileSync(join(there, WEIGHTS), bytes);
    expect(await identity(here)).not.toBe(await identity(there));
  });

  test('stops before reading when it was aborted', async () => {
    const reason = new Error('enough');
    await expect(openCheckpoint(join(GOLDEN, 'tiny-a'), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe('openCheckpoint on a folder that is wrong', () => {
  test('says when there is no folder, no config, no weights', async () => {
    await expectFailure('/nowhere/at/all', 'ERR_MODEL_NOT_FOUND', 'checkpoint folder');
    const folder = copyCheckpoint();
    renameSync(join(folder, WEIGHTS), join(folder, 'pytorch_model.bin'));
    await expectFailure(folder, 'ERR_MODEL_NOT_FOUND', 'convert the checkpoint to safetensors');
    await expectFailure(temporaryFolder(), 'ERR_MODEL_NOT_FOUND', 'config.json');
  });

  test('names another architecture', async () => {
    const folder = copyCheckpoint();
    editJson(join(folder, 'config.json'), (config) => {
      config.model_type = 'llava';
    });
    await expectFailure(folder, 'ERR_MODEL_UNSUPPORTED', '"mllama"', '"llava"');
  });

  test.each([
    ['not JSON', '{"model_type": ', /is not JSON/],
    ['another type', '[]', /config.json is not as expected/],
    ['a field of the wrong type', '{"model_type":"mllama","text_config":{"hidden_size":"big"}}', /hidden_size/],
    [
      'an absurd number of layers',
      '{"model_type":"mllama","text_config":{"num_hidden_layers":1e9}}',
      /num_hidden_layers/,
    ],
  ])('refuses a config that is %s', async (_, text, message) => {
    const folder = copyCheckpoint();
    writeFileSync(join(folder, 'config.json'), text);
    await expectFailure(folder, 'ERR_MODEL_INVALID', message);
  });

  test('reports every contradiction between config and tensors at once', async () => {
    const folder = copyCheckpoint();
    editJson(join(folder, 'config.json'), (config) => {
      config.text_config.intermediate_size = 256;
      config.vision_config.vision_output_dim = 200;
    });
    editJson(join(folder, 'preprocessor_config.json'), (config) => {
      config.size.width = 112;
    });
    editTensors(join(folder, WEIGHTS), (tensors) => {
      tensors.delete('language_model.model.norm.weight');
      tensors.set('vision_model.class_embedding', { dtype: 'I32', shape: [64], data: Buffer.alloc(256) });
    });
    const error = await expectFailure(folder, 'ERR_MODEL_INVALID');
    const problems = error.details.problems as string[];
    const has = (part: string) => problems.some((problem) => problem.includes(part));
    expect(has('vision_output_dim is 200')).toBe(true);
    expect(has('size 56×112')).toBe(true);
    expect(has('language_model.model.norm.weight [64] is missing')).toBe(true);
    expect(has('expected F32 or F16 or BF16, the file has I32')).toBe(true);
    // three MLP projections of five layers, plus the projector whose shape follows the wrong vision_output_dim
    expect(
      problems.filter((problem) => problem.includes('.mlp.') && problem.includes('config.json implies')),
    ).toHaveLength(15);
    expect(has('multi_modal_projector.weight: config.json implies [64, 200], the file has [64, 192]')).toBe(true);
  });

  test.each([
    [
      'hidden sizes that heads do not divide',
      (c: FreeJson) => (c.text_config.num_attention_heads = 3),
      /does not divide into 3 heads/,
    ],
    [
      'a tap beyond the layers',
      (c: FreeJson) => (c.vision_config.intermediate_layers_indices = [0, 9]),
      /go beyond the 3 local layers/,
    ],
    [
      'a cross layer beyond the layers',
      (c: FreeJson) => (c.text_config.cross_attention_layers = [1, 7]),
      /cross_attention_layers/,
    ],
    ['another activation', (c: FreeJson) => (c.text_config.hidden_act = 'gelu_new'), /hidden_act "gelu_new"/],
    ['another rope', (c: FreeJson) => (c.text_config.rope_scaling.rope_type = 'yarn'), /rope type "yarn"/],
    [
      'an incomplete rope',
      (c: FreeJson) => delete c.text_config.rope_scaling.factor,
      /llama3 rope scaling needs factor/,
    ],
    [
      'ratios that are not those of max_num_tiles',
      (c: FreeJson) => c.vision_config.supported_aspect_ratios.reverse(),
      /supported_aspect_ratios/,
    ],
    ['an image token without a row', (c: FreeJson) => (c.image_token_index = 600), /image token 600 lies outside/],
  ])('refuses a config with %s', async (_, edit, message) => {
    const folder = copyCheckpoint();
    editJson(join(folder, 'config.json'), (config) => {
      edit(config);
    });
    await expectFailure(folder, 'ERR_MODEL_INVALID', message);
  });

  test('refuses an image processor that it does not have', async () => {
    const folder = copyCheckpoint();
    editJson(join(folder, 'preprocessor_config.json'), (config) => {
      config.resample = 3;
    });
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'resample');
    rmSync(join(folder, 'preprocessor_config.json'));
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'preprocessor_config.json is missing');
  });

  test('names a missing shard, a misplaced tensor, and a shard outside the folder', async () => {
    const folder = copyCheckpoint('tiny-a-bf16');
    const index = join(folder, 'model.safetensors.index.json');
    editJson(index, (value) => {
      value.weight_map['vision_model.unknown'] = 'model-00001-of-00003.safetensors';
    });
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'vision_model.unknown is not in model-00001-of-00003.safetensors');
    editJson(index, (value) => {
      value.weight_map['vision_model.unknown'] = '../evil.safetensors';
    });
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'must be a file of this folder');
    rmSync(join(folder, 'model-00002-of-00003.safetensors'));
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'shard model-00002-of-00003.safetensors is missing');
    rmSync(index);
    await expectFailure(folder, 'ERR_MODEL_NOT_FOUND', 'shards need their model.safetensors.index.json');
  });

  test('refuses a tensor that lies in two shards', async () => {
    const folder = copyCheckpoint('tiny-a-bf16');
    const name = 'vision_model.class_embedding';
    const { weight_map: map } = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'));
    const other = map[name] === 'model-00001-of-00003.safetensors' ? 2 : 1;
    editTensors(join(folder, `model-0000${other}-of-00003.safetensors`), (tensors) => {
      tensors.set(name, { dtype: 'BF16', shape: [64], data: Buffer.alloc(128) });
    });
    await expectFailure(folder, 'ERR_MODEL_INVALID', /class_embedding is in .* and again in/);
  });

  test('refuses the same tensor under both generations of names', async () => {
    const folder = copyCheckpoint();
    editTensors(join(folder, WEIGHTS), (tensors) => {
      tensors.set('lm_head.weight', tensors.get('language_model.lm_head.weight')!);
    });
    await expectFailure(folder, 'ERR_MODEL_INVALID', 'same tensor under two names');
  });
});

function newerName(name: string): string {
  if (name.startsWith('language_model.model.')) return name.replace('language_model.model.', 'model.language_model.');
  if (name.startsWith('language_model.lm_head.')) return name.replace('language_model.', '');
  return `model.${name}`;
}
