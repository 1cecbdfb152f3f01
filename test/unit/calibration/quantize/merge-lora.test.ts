import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { mergeLora } from '#calibration/quantize/lora/merge.js';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import {
  copyCheckpoint,
  editJson,
  editTensors,
  GOLDEN,
  type RawTensor,
  readTensors,
  temporaryFolder,
  writeTensors,
} from '../../checkpoint/checkpoint-folder.js';

const TINY = join(GOLDEN, 'tiny-a');
const Q = 'language_model.model.layers.0.self_attn.q_proj'; // [64, 64]
const UP = 'language_model.model.layers.2.mlp.up_proj'; // [128, 64]
const FC1 = 'vision_model.transformer.layers.1.mlp.fc1'; // [128, 64]
const HEAD = 'language_model.lm_head'; // [512, 64]
const EMBED = 'language_model.model.embed_tokens'; // [520, 64]

const f32 = (shape: number[], values: ArrayLike<number>): RawTensor => {
  return { dtype: 'F32', shape, data: Buffer.from(Float32Array.from(values).buffer) };
};
/** Zeros but for what is given as [row, column, value]. */
function sparse(rows: number, columns: number, ...entries: [number, number, number][]): RawTensor {
  const values = new Float32Array(rows * columns);
  for (const [row, column, value] of entries) values[row * columns + column] = value;
  return f32([rows, columns], values);
}

function adapterFolder(config: object, tensors: Record<string, RawTensor>): string {
  const folder = temporaryFolder();
  const whole = { peft_type: 'LORA', r: 2, lora_alpha: 4, base_model_name_or_path: 'somebody/base', ...config };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(whole));
  const named = Object.entries(tensors).map(([name, tensor]) => [`base_model.model.${name}`, tensor] as const);
  writeTensors(join(folder, 'adapter_model.safetensors'), new Map(named));
  return folder;
}

/** A base with zeros in one weight but for a few numbers, so that sums can be done in the head. */
function baseWith(name: string, tensor: RawTensor): string {
  const base = copyCheckpoint();
  editTensors(join(base, 'model.safetensors'), (tensors) => void tensors.set(name, tensor));
  return base;
}

async function merge(base: string, adapter: string, options: { dtype?: 'same' | 'f32' | 'bf16' } = {}) {
  const output = join(temporaryFolder(), 'merged');
  const result = await mergeLora({ base, adapter, output, ...options });
  const { model } = await openCheckpoint(output);
  return { output, result, weight: (name: string) => readTensorF32(model.tensors.get(`${name}.weight`)!) };
}

/** What is not zero, as [row, column, value]. */
function entries(values: Float32Array, columns: number): [number, number, number][] {
  return Array.from(values).flatMap((value, i): [number, number, number][] =>
    value === 0 ? [] : [[Math.floor(i / columns), i % columns, value]],
  );
}

describe('merge-lora', () => {
  const base = () => baseWith(`${Q}.weight`, sparse(64, 64, [0, 0, 1], [1, 2, -5], [9, 9, 7]));
  // B·A: row 0 is 3·(1, 2, 0 …), row 1 is 4·(0, 1, 0.5, 0 …) and row 63 is −1 of the first and 1 of the second.
  const A = sparse(2, 64, [0, 0, 1], [0, 1, 2], [1, 1, 1], [1, 2, 0.5]);
  const B = sparse(64, 2, [0, 0, 3], [1, 1, 4], [63, 0, -1], [63, 1, 1]);
  const pair = (module = Q) => ({ [`${module}.lora_A.weight`]: A, [`${module}.lora_B.weight`]: B });

  test('adds alpha / r · B·A, and nothing to any other tensor', async () => {
    const folder = base();
    const merged = await merge(folder, adapterFolder({}, pair()));
    expect(entries(merged.weight(Q), 64)).toEqual([
      [0, 0, 7], // 1 + 2·3·1
      [0, 1, 12], // 2·3·2
      [1, 1, 8], // 2·4·1
      [1, 2, -1], // −5 + 2·4·0.5
      [9, 9, 7],
      [63, 0, -2], // 2·(−1·1)
      [63, 1, -2], // 2·(−1·2 + 1·1)
      [63, 2, 1], // 2·(1·0.5)
    ]);
    expect(merged.result).toMatchObject({ mergedLinears: 1, replacedTensors: 0 });
    const before = readTensors(join(folder, 'model.safetensors'));
    const after = readTensors(join(merged.output, 'model.safetensors'));
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [name, { data }] of after)
      if (name !== `${Q}.weight`) expect(data.equals(before.get(name)!.data)).toBe(true);
  });

  test('takes alpha / √r with rslora, and what the patterns say of single modules', async () => {
    const first = async (config: object, rank = 2) => {
      const a = sparse(rank, 64, [0, 0, 1]);
      const b = sparse(64, rank, [0, 0, 1]);
      const tensors = { [`${Q}.lora_A.weight`]: a, [`${Q}.lora_B.weight`]: b };
      return (await merge(baseWith(`${Q}.weight`, sparse(64, 64)), adapterFolder(config, tensors))).weight(Q)[0];
    };
    expect(await first({})).toBe(2);
    expect(await first({ use_rslora: true, r: 4 }, 4)).toBe(2); // 4 / √4
    expect(await first({ alpha_pattern: { q_proj: 10 } })).toBe(5);
    expect(await first({ alpha_pattern: { 'layers.1.self_attn.q_proj': 10 } })).toBe(2);
    expect(await first({ rank_pattern: { 'layers\\.[0-3]\\.self_attn\\.q_proj': 1 } }, 1)).toBe(4);
  });

  test.each([
    ['transformers 5', Q.replace('language_model.model.', 'model.language_model.')],
    ['an adapter that was not the only one', `${Q}`],
  ])('knows the names of %s', async (_, module) => {
    const tensors = Object.fromEntries(
      Object.entries(pair(module)).map(([name, tensor]) => [
        module === Q ? name.replace(/\.weight$/, '.default.weight') : name,
        tensor,
      ]),
    );
    expect((await merge(base(), adapterFolder({}, tensors))).weight(Q)[0]).toBe(7);
  });

  test('reaches the vision tower and the embeddings, whose parts are stored the other way round', async () => {
    const vision = await merge(
      baseWith(`${FC1}.weight`, sparse(128, 64)),
      adapterFolder(
        {},
        {
          [`${FC1}.lora_A.weight`]: sparse(2, 64, [0, 5, 1]),
          [`${FC1}.lora_B.weight`]: sparse(128, 2, [100, 0, 3]),
        },
      ),
    );
    expect(entries(vision.weight(FC1), 64)).toEqual([[100, 5, 6]]);
    const table = await merge(
      baseWith(`${EMBED}.weight`, sparse(520, 64)),
      adapterFolder(
        {},
        {
          [`${EMBED}.lora_embedding_A`]: sparse(2, 520, [1, 519, 2]),
          [`${EMBED}.lora_embedding_B`]: sparse(64, 2, [7, 1, 5]),
        },
      ),
    );
    expect(entries(table.weight(EMBED), 64)).toEqual([[519, 7, 20]]);
  });

  test('puts modules_to_save in the place of what the base has', async () => {
    const head = f32(
      [512, 64],
      Float32Array.from({ length: 512 * 64 }, (_, i) => i % 3),
    );
    const merged = await merge(
      base(),
      adapterFolder({ modules_to_save: ['lm_head'] }, { ...pair(), [`${HEAD}.weight`]: head }),
    );
    expect(merged.result).toMatchObject({ mergedLinears: 1, replacedTensors: 1 });
    expect(Array.from(merged.weight(HEAD).subarray(0, 4))).toEqual([0, 1, 2, 0]);
  });

  test('sums in float32 whatever the base is written in', async () => {
    const bf16 = join(GOLDEN, 'tiny-a-bf16');
    // 2⁻¹² is lost beside 1 in bfloat16, and kept in float32.
    const adapter = adapterFolder(
      { lora_alpha: 2 },
      {
        [`${UP}.lora_A.weight`]: sparse(2, 64, [0, 3, 2 ** -12]),
        [`${UP}.lora_B.weight`]: sparse(128, 2, [5, 0, 1]),
      },
    );
    const before = readTensorF32((await openCheckpoint(bf16)).model.tensors.get(`${UP}.weight`)!);
    const exact = await merge(bf16, adapter, { dtype: 'f32' });
    const after = exact.weight(UP);
    for (const [i, value] of before.entries()) {
      expect(after[i]).toBe(i === 5 * 64 + 3 ? Math.fround(value + 2 ** -12) : value);
    }
    expect(JSON.parse(readFileSync(join(exact.output, 'config.json'), 'utf8')).torch_dtype).toBe('float32');
    const same = await merge(bf16, adapter);
    const shards = readdirSync(same.output).filter((name) => name.endsWith('.safetensors'));
    expect([...readTensors(join(same.output, shards[0]!)).values()].every(({ dtype }) => dtype === 'BF16')).toBe(true);
  });

  test('hands on nothing that describes an adapter', async () => {
    const folder = base();
    const adapter = adapterFolder({}, pair());
    for (const name of readdirSync(adapter)) writeFileSync(join(folder, name), readFileSync(join(adapter, name)));
    // Base and adapter in one folder.
    const merged = await merge(folder, folder);
    expect(merged.weight(Q)[0]).toBe(7);
    expect(existsSync(join(merged.output, 'adapter_config.json'))).toBe(false);
    expect((await openCheckpoint(merged.output)).warnings).toEqual([]);
  });

  test('merges weights that were saved with the wrappers of PEFT around them', async () => {
    const folder = base();
    editTensors(join(folder, 'model.safetensors'), (tensors) => {
      const weight = tensors.get(`${Q}.weight`)!;
      tensors.delete(`${Q}.weight`);
      tensors.set(`${Q}.base_layer.weight`, weight);
      tensors.set(`${Q}.lora_A.default.weight`, A);
      tensors.set(`${Q}.lora_B.default.weight`, B);
      const head = tensors.get(`${HEAD}.weight`)!;
      tensors.delete(`${HEAD}.weight`);
      tensors.set(`${HEAD}.original_module.weight`, head);
      tensors.set(`${HEAD}.modules_to_save.default.weight`, f32([512, 64], new Float32Array(512 * 64).fill(2)));
    });
    const output = join(temporaryFolder(), 'x');
    await expect(mergeLora({ base: folder, adapter: folder, output })).rejects.toThrow(
      'which states its scale (lora_alpha)',
    );
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ r: 2, lora_alpha: 4 }));
    const merged = await merge(folder, folder);
    expect(merged.weight(Q)[0]).toBe(7);
    expect(merged.weight(HEAD)[0]).toBe(2);
    expect(merged.result).toMatchObject({ mergedLinears: 1, replacedTensors: 1 });
  });

  test.each<[string, object, Record<string, RawTensor>, string, RegExp]>([
    ['DoRA', { use_dora: true }, pair(), 'ERR_MODEL_UNSUPPORTED', /with magnitudes \(use_dora\)/],
    ['IA³', { peft_type: 'IA3' }, pair(), 'ERR_MODEL_UNSUPPORTED', /of the kind IA3/],
    ['transposed weights', { fan_in_fan_out: true }, pair(), 'ERR_MODEL_UNSUPPORTED', /fan_in_fan_out/],
    ['another rank than stated', { r: 16 }, pair(), 'ERR_MODEL_INVALID', /states rank 16, the file has 2/],
    ['half a pair', {}, { [`${Q}.lora_A.weight`]: A }, 'ERR_MODEL_INVALID', /lora_B is missing/],
    [
      'another model',
      {},
      pair('model.layers.0.self_attn.q_proj'),
      'ERR_MODEL_INVALID',
      /the base model has no such linear/,
    ],
    [
      'another size',
      {},
      { ...pair(), [`${Q}.lora_B.weight`]: sparse(32, 2) },
      'ERR_MODEL_INVALID',
      /implies \[64, 2\], the file has \[32, 2\]/,
    ],
    [
      'something else',
      {},
      { ...pair(), 'classifier.weight': A },
      'ERR_MODEL_INVALID',
      /classifier.weight belongs to nothing/,
    ],
    ['nothing', {}, {}, 'ERR_MODEL_INVALID', /has no tensors/],
  ])('refuses an adapter of %s, and leaves nothing', async (_, config, tensors, code, message) => {
    const target = temporaryFolder();
    const merging = mergeLora({ base: TINY, adapter: adapterFolder(config, tensors), output: join(target, 'x') });
    await expect(merging).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(target)).toEqual([]);
  });

  test('says which file of an adapter is missing', async () => {
    const adapter = adapterFolder({}, pair());
    rmSync(join(adapter, 'adapter_model.safetensors'));
    const output = join(temporaryFolder(), 'x');
    await expect(mergeLora({ base: TINY, adapter, output })).rejects.toThrow('Expected adapter_model.safetensors');
    await expect(mergeLora({ base: TINY, adapter: temporaryFolder(), output })).rejects.toThrow(
      'Expected adapter_config.json',
    );
  });

  test('does not write into the adapter', async () => {
    const adapter = adapterFolder({}, pair());
    await expect(mergeLora({ base: TINY, adapter, output: join(adapter, 'merged') })).rejects.toThrow(
      'lies in the source',
    );
  });
});

describe('quantize with a LoRA', () => {
  const random = (shape: [number, number], seed: number) => {
    let state = seed;
    const values = Float32Array.from({ length: shape[0] * shape[1] }, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (state / 2 ** 31 - 0.5) * 0.3;
    });
    return f32(shape, values);
  };

  test('makes the bytes that merging first would have made', async () => {
    const adapter = adapterFolder(
      {},
      {
        [`${UP}.lora_A.weight`]: random([2, 64], 1),
        [`${UP}.lora_B.weight`]: random([128, 2], 2),
      },
    );
    const [direct, merged, after, plain] = ['direct', 'merged', 'after', 'plain'].map((name) =>
      join(temporaryFolder(), name),
    );
    await quantizeCheckpoint({ source: TINY, output: direct!, lora: adapter, groupSize: 32 });
    await mergeLora({ base: TINY, adapter, output: merged! });
    await quantizeCheckpoint({ source: merged!, output: after!, groupSize: 32 });
    await quantizeCheckpoint({ source: TINY, output: plain!, groupSize: 32 });
    const weights = (folder: string) => readFileSync(join(folder, 'model.safetensors'));
    expect(weights(direct!).equals(weights(after!))).toBe(true);
    expect(weights(direct!).equals(weights(plain!))).toBe(false);
  });

  test('does not calibrate', async () => {
    const output = join(temporaryFolder(), 'x');
    await expect(quantizeCheckpoint({ source: TINY, output, lora: temporaryFolder(), method: 'awq' })).rejects.toThrow(
      'Merge first (`scenebus merge-lora`), then calibrate.',
    );
  });

  test('of a source with an adapter beside it copies no adapter_config.json, and says so', async () => {
    const source = copyCheckpoint();
    writeFileSync(join(source, 'adapter_config.json'), JSON.stringify({ r: 8 }));
    editJson(join(source, 'config.json'), () => {});
    const output = join(temporaryFolder(), 'int4');
    const warnings: string[] = [];
    await quantizeCheckpoint({
      source,
      output,
      groupSize: 32,
      logger: { log: (level, message) => void (level === 'warn' && warnings.push(message)) },
    });
    expect(existsSync(join(output, 'adapter_config.json'))).toBe(false);
    expect(warnings.join()).toContain('adapter_config.json beside the weights is not applied');
  });
});
