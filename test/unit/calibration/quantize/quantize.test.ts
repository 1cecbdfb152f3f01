import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatQuantizeResult, quantizeOptionsFrom } from '#calibration/quantize/cli-options.js';
import { type QuantizeResult, quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { architectureOf, configSchema } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { randomScenes } from '../../../support/calibration-scenes.js';
import {
  copyCheckpoint,
  editJson,
  editTensors,
  type FreeJson,
  GOLDEN,
  readTensors,
  temporaryFolder,
  writeFile,
} from '../../checkpoint/checkpoint-folder.js';

const TINY = join(GOLDEN, 'tiny-a');
const LINEARS = 5 * 7; // q, k, v, o, gate, up, down of five layers, two of them cross layers

const read = ({ file, offsetBytes, sizeBytes }: TensorLocation) =>
  readFileSync(file).subarray(offsetBytes, offsetBytes + sizeBytes);

/** `[N, K]` from the packed form, by the convention's own words. */
function unpack(tensors: ReadonlyMap<string, TensorLocation>, name: string): Float32Array {
  const packed = read(tensors.get(`${name}_packed`)!);
  const scale = tensors.get(`${name}_scale`)!;
  const scales = readTensorF32(scale);
  const [rows, groups] = scale.shape as [number, number];
  const inputs = Number(read(tensors.get(`${name}_shape`)!).readBigInt64LE(8));
  const isInt8 = packed.length === rows * inputs;
  return Float32Array.from({ length: rows * inputs }, (_, i) => {
    const byte = packed[isInt8 ? i : i >> 1]!; // little-endian words, low bits first: low nibble first
    const q = isInt8 ? byte - 128 : ((i % 2 === 0 ? byte : byte >> 4) & 15) - 8;
    const row = Math.floor(i / inputs);
    return q * scales[row * groups + Math.floor((i % inputs) / (inputs / groups))]!;
  });
}

describe('quantizeCheckpoint', () => {
  test.each([
    [32, 'bf16'],
    [64, 'bf16'],
    [64, 'int4'],
    [32, 'int8'],
  ] as const)('makes a folder that opens as int4, groups of %i, lm_head %s', async (groupSize, lmHead) => {
    const output = join(temporaryFolder(), 'tiny-int4');
    const result = await quantizeCheckpoint({ source: TINY, output, groupSize, lmHead });
    expect(result).toMatchObject({ directory: output, groupSize, lmHead, sourceBytes: 2_049_580 });
    expect(result.quantizedLinears).toBe(LINEARS + (lmHead === 'bf16' ? 0 : 1));
    expect(result.sizeBytes).toBeLessThan(result.sourceBytes / 2);
    expect(result.relativeError).toBeGreaterThan(0.05);
    expect(result.relativeError).toBeLessThan(0.15);

    const { config_groups: groups, ignore } = JSON.parse(
      readFileSync(join(output, 'config.json'), 'utf8'),
    ).quantization_config;
    // vLLM finds the scheme of a layer by its name first; lm_head is no Linear there.
    expect(Object.values<FreeJson>(groups).map(({ targets, weights }) => [weights.num_bits, ...targets])).toEqual(
      {
        bf16: [[4, 'Linear']],
        int4: [[4, 'Linear', 're:.*lm_head']],
        int8: [
          [4, 'Linear'],
          [8, 're:.*lm_head'],
        ],
      }[lmHead],
    );
    expect(ignore.includes('re:.*lm_head')).toBe(lmHead === 'bf16');

    const { model } = await openCheckpoint(output);
    const original = (await openCheckpoint(TINY)).model;
    expect(model.int4).toEqual({ bits: 4, groupSize });
    expect(model.architecture).toEqual(original.architecture);
    for (const [name, location] of original.tensors) {
      if (!model.tensors.has(`${name}_packed`)) {
        // 16-bit, and the nearest 16-bit value
        expect(model.tensors.get(name)?.dtype, name).toBe('BF16');
        const exact = readTensorF32(location);
        const rounded = readTensorF32(model.tensors.get(name)!);
        expect(exact.every((value, i) => Math.abs(value - rounded[i]!) <= Math.abs(value) * 2 ** -8)).toBe(true);
        continue;
      }
      expect(name).toMatch(/_proj\.weight$|lm_head\.weight$/);
      expect(model.tensors.get(`${name}_packed`)).toMatchObject({ dtype: 'I32' });
      expect(model.tensors.get(`${name}_scale`)).toMatchObject({ dtype: 'BF16' });
      expect(read(model.tensors.get(`${name}_shape`)!).readBigInt64LE(8)).toBe(BigInt(location.shape[1]!));
      const exact = readTensorF32(location);
      const restored = unpack(model.tensors, name);
      const scales = readTensorF32(model.tensors.get(`${name}_scale`)!);
      const steps = exact.map((value, i) => Math.abs(restored[i]! - value) / scales[Math.floor(i / groupSize)]!);
      expect(Math.max(...steps), name).toBeLessThanOrEqual(0.55);
    }
  });

  test('writes config, index and companions as other programs expect them', async () => {
    const source = copyCheckpoint();
    writeFileSync(join(source, 'tokenizer.json'), '{"tokens":1}');
    writeFileSync(join(source, 'chat_template.jinja'), '{{ messages }}');
    writeFileSync(join(source, 'LICENSE'), 'Apache License 2.0');
    writeFileSync(join(source, 'scenebus.json'), '{"boxes":{}}');
    writeFileSync(join(source, 'pytorch_model.bin'), 'old weights');
    writeFileSync(join(source, '.cache'), 'hidden');
    mkdirSync(join(source, 'original'));
    const output = join(temporaryFolder(), 'out');
    await quantizeCheckpoint({ source, output, groupSize: 32, shardBytes: 300_000 });
    const names = readdirSync(output).sort();
    const shards = names.filter((name) => name.endsWith('.safetensors'));
    expect(shards.length).toBeGreaterThan(1);
    expect(names.filter((name) => !shards.includes(name))).toEqual([
      'LICENSE',
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'model.safetensors.index.json',
      'preprocessor_config.json',
      'scenebus.json',
      'tokenizer.json',
    ]);
    const index = JSON.parse(readFileSync(join(output, 'model.safetensors.index.json'), 'utf8'));
    let bytes = 0;
    for (const shard of shards) {
      for (const [name, tensor] of readTensors(join(output, shard))) {
        expect(index.weight_map[name]).toBe(shard);
        bytes += tensor.data.length;
      }
    }
    expect(index.metadata.total_size).toBe(bytes);
    const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'));
    expect(config.torch_dtype).toBe('bfloat16');
    expect(config.quantization_config).toMatchObject({
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      ignore: expect.arrayContaining(['re:.*lm_head', 're:.*vision_model.*']),
      config_groups: {
        group_0: {
          targets: ['Linear'],
          weights: { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 32 },
        },
      },
    });
    expect((await openCheckpoint(output)).manifest.boxes).toBeDefined();
  });

  test('takes bfloat16 shards, keeps their 16-bit bytes, and makes the same bytes every time', async () => {
    const source = join(GOLDEN, 'tiny-a-bf16');
    const folder = temporaryFolder();
    const hashes = [];
    for (const name of ['one', 'two']) {
      const output = join(folder, name);
      await quantizeCheckpoint({ source, output, groupSize: 64 });
      const hash = createHash('sha256');
      for (const file of readdirSync(output).sort()) hash.update(file).update(readFileSync(join(output, file)));
      hashes.push(hash.digest('hex'));
    }
    expect(hashes[0]).toBe(hashes[1]);
    const name = 'vision_model.gated_positional_embedding.tile_embedding.weight';
    const before = (await openCheckpoint(source)).model.tensors.get(name)!;
    const after = (await openCheckpoint(join(folder, 'one'))).model.tensors.get(name)!;
    expect(Buffer.compare(read(before), read(after))).toBe(0);
  });

  test('reports progress in bytes up to the whole', async () => {
    const seen: number[] = [];
    let total = 0;
    const output = join(temporaryFolder(), 'out');
    await quantizeCheckpoint({
      source: TINY,
      output,
      groupSize: 32,
      onProgress: (progress) => {
        seen.push(progress.done);
        total = progress.total;
      },
    });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen[0]).toBe(0);
    expect(seen.at(-1)!).toBe(total);
  });
});

describe('quantizeCheckpoint on bad input', () => {
  const attempt = (change: object) => {
    const output = join(temporaryFolder(), 'Llama-out');
    return { output, result: quantizeCheckpoint({ source: TINY, output, groupSize: 32, ...change }) };
  };

  test('names the groups that would fit', async () => {
    await expect(attempt({ groupSize: 128 }).result).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringMatching(/128 do not divide linears with 64 inputs. Use --group 32 or 64/),
    });
    await expect(attempt({ groupSize: 48 }).result).rejects.toThrow(/32, 64 or 128/);
    await expect(attempt({ lmHead: 'int2' }).result).rejects.toThrow(/bf16, int8 or int4/);
  });

  test('leaves a used folder alone, and the source too', async () => {
    const output = join(temporaryFolder(), 'out');
    mkdirSync(output);
    writeFileSync(join(output, 'mine'), 'x');
    await expect(quantizeCheckpoint({ source: TINY, output })).rejects.toThrow(/not empty/);
    await expect(quantizeCheckpoint({ source: TINY, output: TINY })).rejects.toThrow(/lies in the source/);
    await expect(quantizeCheckpoint({ source: TINY, output: join(TINY, 'x') })).rejects.toThrow(/lies in the source/);
    expect(readdirSync(output)).toEqual(['mine']);
  });

  test('says so when somebody else made the folder meanwhile', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const onProgress = () => {
      mkdirSync(output, { recursive: true });
      writeFileSync(join(output, 'theirs'), 'x');
    };
    await expect(quantizeCheckpoint({ source: TINY, output, groupSize: 32, onProgress })).rejects.toThrow(/not empty/);
    expect(readdirSync(folder)).toEqual(['.out.partial', 'out']); // to go on with when theirs is moved away
    expect(readdirSync(output)).toEqual(['theirs']);
  });

  test('leaves nothing behind when weights are not finite, when aborted, when the source is quantised', async () => {
    const source = copyCheckpoint();
    editTensors(join(source, 'model.safetensors'), (tensors) => {
      tensors.get('language_model.model.layers.3.mlp.up_proj.weight')!.data.writeFloatLE(Number.NaN, 400);
    });
    const broken = attempt({ source });
    await expect(broken.result).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(/layers.3.mlp.up_proj.weight holds values that are not finite/),
    });
    expect(readdirSync(dirname(broken.output))).toEqual([]);

    const controller = new AbortController();
    const reason = new Error('enough');
    const aborted = attempt({ signal: controller.signal, onProgress: () => controller.abort(reason) });
    await expect(aborted.result).rejects.toBe(reason);
    expect(existsSync(aborted.output)).toBe(false); // what is done is kept for the next run: quantize-runs.test.ts

    const first = attempt({});
    await first.result;
    await expect(attempt({ source: first.output }).result).rejects.toThrow(/quantised already/);
  });

  test.each([
    ['rtn', 'vision_model.class_embedding', Number.NaN, /^vision_model.class_embedding holds .* not finite/],
    ['rtn', 'language_model.model.layers.2.input_layernorm.weight', Infinity, /^language_model.*layers.2.* not finite/],
    [
      'awq',
      'vision_model.class_embedding',
      Number.NaN,
      /^vision_model.class_embedding holds .* not finite .* calibration picture 0/,
    ],
    [
      'awq',
      'language_model.model.layers.2.input_layernorm.weight',
      Infinity,
      /^language_model.*layers.2.input_layernorm.weight holds .* layer 2 of the text decoder/,
    ],
    ['awq', 'language_model.model.norm.weight', Infinity, /^language_model.model.norm.weight holds .* not finite/],
    ['awq', 'language_model.model.layers.1.mlp.up_proj.weight', 3e38, /layer 1 of the text decoder.*too large/],
  ] as const)(
    'refuses to copy or calibrate with values that are not finite: %s, %s',
    async (method, name, value, message) => {
      const source = copyCheckpoint();
      editTensors(join(source, 'model.safetensors'), (tensors) => {
        const { data } = tensors.get(name)!;
        for (let i = 0; i < 8; i++) data.writeFloatLE(value, 4 * i);
      });
      const { model } = await openCheckpoint(source);
      const calibrate = method === 'awq' ? randomScenes(model, 1, 1) : undefined;
      const { output, result } = attempt({ source, method, calibrate, threads: 1 });
      await expect(result).rejects.toMatchObject({
        code: 'ERR_MODEL_INVALID',
        message: expect.stringMatching(message),
      });
      expect(readdirSync(dirname(output))).toEqual([]);
    },
  );

  test('says how much room it needs before it writes anything', async (context) => {
    // Sparse: claims terabytes, holds a header.
    const source = copyCheckpoint();
    editJson(join(source, 'config.json'), (config) => {
      Object.assign(config.text_config, {
        hidden_size: 524_288,
        num_attention_heads: 4096,
        num_hidden_layers: 1,
        cross_attention_layers: [],
        vocab_size: 1_000_000,
      });
    });
    const config = configSchema.parse(JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')));
    const header: Record<string, unknown> = {};
    let end = 0;
    for (const { name, shape } of expectedTensors(architectureOf(config).architecture)) {
      const size = shape.reduce((product, side) => product * side, 2);
      header[name] = { dtype: 'BF16', shape, data_offsets: [end, end + size] };
      end += size;
    }
    const weights = join(source, 'model.safetensors');
    writeFile(weights, JSON.stringify(header), Buffer.alloc(0));
    try {
      truncateSync(weights, statSync(weights).size + end);
    } catch {
      context.skip('this file system has no files of terabytes');
    }
    const folder = temporaryFolder();
    const output = join(folder, 'a', 'b', 'out');
    await expect(quantizeCheckpoint({ source, output })).rejects.toMatchObject({
      code: 'ERR_DISK_FULL',
      message: expect.stringMatching(/needs \d{4}\.\d\d GB .* but \d+\.\d\d GB are free/),
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('asks for the Llama licence wherever it shows, and keeps the name', async () => {
    const licensed = copyCheckpoint();
    writeFileSync(join(licensed, 'LICENSE.txt'), 'LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n…');
    const tagged = copyCheckpoint();
    writeFileSync(join(tagged, 'README.md'), '---\nlicense: llama3.2\n---\n');
    const named = copyCheckpoint();
    editJson(join(named, 'config.json'), (config: FreeJson) => {
      config._name_or_path = 'meta-llama/Llama-3.2-11B-Vision';
    });
    for (const source of [licensed, tagged, named]) {
      const refused = attempt({ source });
      await expect(refused.result).rejects.toMatchObject({ code: 'ERR_LICENSE_NOT_ACCEPTED' });
      expect(existsSync(refused.output)).toBe(false);
    }
    await expect(
      quantizeCheckpoint({
        source: licensed,
        output: join(temporaryFolder(), 'mine'),
        groupSize: 32,
        acceptLlamaLicense: true,
      }),
    ).rejects.toThrow(/must begin with "Llama".*Llama-mine/);
    const accepted = attempt({ source: licensed, acceptLlamaLicense: true });
    await accepted.result;
    expect(readFileSync(join(accepted.output, 'LICENSE.txt'), 'utf8')).toContain('LLAMA 3.2 COMMUNITY LICENSE');
    expect(readFileSync(join(accepted.output, 'NOTICE'), 'utf8')).toContain('Copyright © Meta Platforms, Inc.');
  });
});

describe('openCheckpoint on quantised folders that are wrong', () => {
  const quantized = async (): Promise<string> => {
    const output = join(temporaryFolder(), 'int4');
    await quantizeCheckpoint({ source: TINY, output, groupSize: 32 });
    return output;
  };
  const up = 'language_model.model.layers.0.mlp.up_proj.weight';

  test.each([
    [
      'one scale for a tensor',
      (w: FreeJson) => Object.assign(w, { strategy: 'tensor', group_size: null }),
      /one scale per tensor/,
    ],
    ['another group', (w: FreeJson) => Object.assign(w, { group_size: 16 }), /group size 16/],
    ['eight bits alone', (w: FreeJson) => Object.assign(w, { num_bits: 8 }), /8-bit int weights alone/],
    ['three bits', (w: FreeJson) => Object.assign(w, { num_bits: 3 }), /3-bit int weights/],
    ['zero points', (w: FreeJson) => Object.assign(w, { symmetric: false }), /asymmetric/],
    ['activation order', (w: FreeJson) => Object.assign(w, { actorder: 'group' }), /activation order "group"/],
  ])('refuses %s by name', async (_, edit, message) => {
    const folder = await quantized();
    editJson(join(folder, 'config.json'), (config) => edit(config.quantization_config.config_groups.group_0.weights));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_UNSUPPORTED',
      message: expect.stringMatching(message),
    });
  });

  test('refuses a target that is no expression', async () => {
    const folder = await quantized();
    editJson(join(folder, 'config.json'), (config) => {
      config.quantization_config.config_groups.group_0.targets = ['re:(lm_head'];
    });
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(/no usable regular expression: "re:\(lm_head"/),
    });
  });

  test('refuses packed weights that no target names', async () => {
    const folder = await quantized();
    editJson(join(folder, 'config.json'), (config) => {
      config.quantization_config.config_groups.group_0.targets = ['re:.*self_attn.*'];
    });
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(/mlp.up_proj.weight_packed exists, but no target/),
    });
  });

  test('refuses a head in other bits than its target says', async () => {
    const output = join(temporaryFolder(), 'int8-head');
    await quantizeCheckpoint({ source: TINY, output, groupSize: 32, lmHead: 'int8' });
    editJson(join(output, 'config.json'), (config) => {
      delete config.quantization_config.config_groups.group_1; // Linear remains, in 4 bits
    });
    await expect(openCheckpoint(output)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(/lm_head.weight_packed: config.json implies \[512, 8\], the file has \[512, 16\]/),
    });
  });

  test('refuses another method', async () => {
    const folder = await quantized();
    editJson(join(folder, 'config.json'), (config) => {
      config.quantization_config = { quant_method: 'gptq', bits: 4 };
    });
    await expect(openCheckpoint(folder)).rejects.toThrow(/is in the format GPTQ, 4 bits.*--from gptq` converts it/);
  });

  test.each<[string, (tensors: ReturnType<typeof readTensors>) => void, RegExp]>([
    ['missing scales', (tensors) => tensors.delete(`${up}_scale`), /up_proj.weight_scale \[128, 2\] is missing/],
    [
      'scales of another group size',
      (tensors) => tensors.set(`${up}_scale`, { dtype: 'BF16', shape: [128, 1], data: Buffer.alloc(256) }),
      /up_proj.weight_scale: config.json implies \[128, 2\], the file has \[128, 1\]/,
    ],
    [
      'a scale that is NaN',
      (tensors) => tensors.get(`${up}_scale`)!.data.writeUInt16LE(0x7fc0, 6),
      /1 of its values are not finite/,
    ],
    [
      'a scale that is infinite',
      (tensors) => tensors.get(`${up}_scale`)!.data.writeUInt16LE(0xff80, 0),
      /1 of its values/,
    ],
    [
      'a stated shape of another product',
      (tensors) => tensors.get(`${up}_shape`)!.data.writeBigInt64LE(72n, 8),
      /states \[128, 72\]/,
    ],
    [
      'zero points in the file',
      (tensors) => tensors.set(`${up}_zero_point`, { dtype: 'I32', shape: [1], data: Buffer.alloc(4) }),
      /zero_point is not supported/,
    ],
    [
      'packed and plain weights at once',
      (tensors) => tensors.set(up, { dtype: 'BF16', shape: [128, 64], data: Buffer.alloc(16_384) }),
      /both packed and unpacked/,
    ],
  ])('refuses %s', async (_, edit, message) => {
    const folder = await quantized();
    editTensors(join(folder, 'model.safetensors'), edit);
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test('refuses packed tensors without a config, and a config without packed tensors', async () => {
    const folder = await quantized();
    editJson(join(folder, 'config.json'), (config) => {
      delete config.quantization_config;
    });
    await expect(openCheckpoint(folder)).rejects.toThrow(/config.json has no quantization_config/);
    const plain = copyCheckpoint();
    const { quantization_config: scheme } = JSON.parse(readFileSync(join(await quantized(), 'config.json'), 'utf8'));
    editJson(join(plain, 'config.json'), (config) => {
      config.quantization_config = scheme;
    });
    await expect(openCheckpoint(plain)).rejects.toThrow(/no tensor is packed/);
  });
});

describe('the words of scenebus quantize', () => {
  test('become options', () => {
    expect(quantizeOptionsFrom('a', 'b', {})).toEqual({
      source: 'a',
      output: 'b',
      lmHead: 'bf16',
      method: 'rtn',
    });
    expect(quantizeOptionsFrom('a', 'b', { method: 'awq', calibrate: 'pictures' })).toMatchObject({
      method: 'awq',
      calibrate: 'pictures',
    });
    expect(quantizeOptionsFrom('a', 'b', { from: 'mlx', lora: 'c' })).toMatchObject({ from: 'mlx', lora: 'c' });
    expect(() => quantizeOptionsFrom('a', 'b', { from: 'gguf' })).toThrow(/--from auto, mlx, awq, gptq/);
    expect(() => quantizeOptionsFrom('a', 'b', { method: 'gptq' })).toThrow(/--method rtn or awq/);
    expect(() => quantizeOptionsFrom('a', 'b', { calibrate: 'pictures' })).toThrow(/--method awq with --calibrate/);
    expect(quantizeOptionsFrom('a', 'b', { group: '32', lmHead: 'int4', acceptLlamaLicense: true })).toMatchObject({
      groupSize: 32,
      lmHead: 'int4',
      acceptLlamaLicense: true,
    });
    expect(() => quantizeOptionsFrom('a', 'b', { group: '33' })).toThrow(/--group 32, 64 or 128, but received "33"/);
    expect(() => quantizeOptionsFrom('a', 'b', { lmHead: 'int2' })).toThrow(/--lm-head bf16, int8 or int4/);
    expect(quantizeOptionsFrom('a', 'b', { lmHead: 'int8' }).lmHead).toBe('int8');
  });

  test('tell the result', () => {
    const result: QuantizeResult = {
      method: 'rtn',
      directory: '/models/x',
      groupSize: 64,
      lmHead: 'bf16',
      quantizedLinears: 35,
      keptLinears: 0,
      sourceBytes: 2_000_000,
      sizeBytes: 800_000,
      relativeError: 0.0731,
    };
    const text = formatQuantizeResult(result);
    expect(text).toContain('35 linears in int4 (rtn), groups of 64; lm_head in bf16');
    expect(text).toContain('2.0 MB → 0.8 MB');
    expect(text).toContain('7.31 %');
    const withHead = { ...result, lmHead: 'int8', quantizedLinears: 36 } as const;
    expect(formatQuantizeResult(withHead)).toContain('35 linears in int4 (rtn), groups of 64; lm_head in int8');
  });
});
