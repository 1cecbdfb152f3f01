/** Weights that are not finite, as a bad copy or a bad conversion leaves them, end in an error and not in an answer. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadModel } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import { type GoldenCase, messagesOf, readGoldenCase, writeGoldenModelFolder } from '../support/golden-model-folder.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';
import { editTensors, GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const LAYER = 'language_model.model.layers.';
let golden: GoldenCase;
let named: string;

beforeAll(async () => {
  golden = await readGoldenCase('text_only');
  named = await writeGoldenModelFolder([golden]);
});

/** A model folder of its own with one number replaced. */
async function damaged(weights: 'float' | 'int4', name: string, index: number, value: number): Promise<string> {
  const target = await makeTemporaryFolder('scenebus-damaged-');
  const folders = makeInt4Checkpoint(join(GOLDEN, 'tiny-a'), target, 32);
  const folder = weights === 'int4' ? folders.int4 : folders.dequantized;
  for (const file of ['tokenizer.json', 'chat_template.jinja']) await copyFile(join(named, file), join(folder, file));
  editTensors(join(folder, 'model.safetensors'), (tensors) => {
    const tensor = tensors.get(name)!;
    expect(tensor.dtype).toBe('F32');
    const data = Buffer.from(tensor.data);
    data.writeFloatLE(value, index * 4);
    tensors.set(name, { ...tensor, data });
  });
  return folder;
}

const load = async (folder: string, keyValueType: 'f16' | 'int8' = 'f16') =>
  loadModel(folder, {
    backend: 'cpu',
    threads: 1,
    cacheDirectory: await makeTemporaryFolder('scenebus-cache-'),
    keyValueType,
  });

describe.each(['float', 'int4'] as const)('%s weights', (weights) => {
  test.each([
    ['NaN', Number.NaN, 'f16'],
    ['infinity', Number.POSITIVE_INFINITY, 'f16'],
    ['minus infinity', Number.NEGATIVE_INFINITY, 'int8'],
  ] as const)('%s in the embedding of an early token of the prompt', async (_, value, keyValueType) => {
    const width = 64;
    const early = golden.input_ids[1]!;
    expect(golden.input_ids.at(-1)).not.toBe(early); // the last row would carry it to the logits by itself
    const name = 'language_model.model.embed_tokens.weight';
    await using model = await load(await damaged(weights, name, early * width + 7, value), keyValueType);
    const stream = model.generate({ messages: messagesOf(0, []) }, { temperature: 0, maxNewTokens: 4 });
    await expect(stream.collect()).rejects.toMatchObject({
      code: 'ERR_ENGINE_FAILED',
      message: expect.stringContaining('Expected finite logits'),
    });
  });

  test.each([
    ['a norm', `${LAYER}0.input_layernorm.weight`],
    ['the last norm', 'language_model.model.norm.weight'],
    ['a gate, which tanh would make finite', `${LAYER}1.cross_attn_mlp_gate`],
  ])('infinity in %s is refused before anything is computed', async (_, name) => {
    const folder = await damaged(weights, name, 0, Number.POSITIVE_INFINITY);
    await expect(load(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringContaining(name),
    });
  });
});
