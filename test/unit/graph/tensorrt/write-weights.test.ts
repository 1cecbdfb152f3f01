/** Weight files of the lowering, against plain loops over single numbers. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ModelDescription, TensorDtype, TensorLocation } from '#sdk/architecture/architecture.js';
import { createRandom } from '#sdk/core/random.js';
import {
  bfloat16Bits,
  bfloat16Value,
  DEFAULT_LOWERING,
  float16Bits,
  float16Value,
  LoweredWeights,
  type LoweringOptions,
  type WriteWeightsOptions,
  writeLoweredWeights,
} from '#sdk/graph/tensorrt/index.js';
import { temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const LINEAR = 'language_model.model.layers.0.self_attn.q_proj';

interface Given {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly groups: number;
  readonly scale?: (index: number) => number;
  readonly scaleType?: 'F32' | 'F16' | 'BF16';
}

/** A description with one packed linear, and the numbers that it was made of. */
function checkpoint(folder: string, given: Given) {
  const { rows, columns, bits, groups, scaleType = 'F32' } = given;
  const random = createRandom(7);
  const values = Int32Array.from({ length: rows * columns }, () => Math.floor(random() * 2 ** bits) - 2 ** (bits - 1));
  const packed = new Uint32Array((values.length * bits) / 32);
  values.forEach((value, i) => {
    const perWord = 32 / bits;
    packed[Math.floor(i / perWord)]! |= (value + 2 ** (bits - 1)) << (bits * (i % perWord));
  });
  const scales = Float32Array.from({ length: rows * groups }, (_, i) => given.scale?.(i) ?? 2 ** -7 * (1 + (i % 8)));
  const scaleBytes = {
    F32: () => Buffer.from(scales.buffer),
    F16: () => Buffer.from(Uint16Array.from(scales, float16Bits).buffer),
    BF16: () => Buffer.from(Uint16Array.from(scales, bfloat16Bits).buffer),
  }[scaleType]();
  const file = path.join(folder, 'model.safetensors');
  // One byte in front: places in a checkpoint are not aligned.
  writeFileSync(file, Buffer.concat([Buffer.of(1), Buffer.from(packed.buffer), scaleBytes]));
  const at = (dtype: TensorDtype, shape: number[], offsetBytes: number, sizeBytes: number): TensorLocation => {
    return { file, dtype, shape, offsetBytes, sizeBytes };
  };
  const tensors = new Map([
    [`${LINEAR}.weight_packed`, at('I32', [rows, (columns * bits) / 32], 1, packed.byteLength)],
    [`${LINEAR}.weight_scale`, at(scaleType, [rows, groups], 1 + packed.byteLength, scaleBytes.length)],
  ]);
  const architecture = { text: { hiddenSize: columns, intermediateSize: columns } };
  const model = { architecture, tensors, int4: { bits: 4, groupSize: 0 } } as unknown as ModelDescription;
  return { model, values, scales };
}

function lowering(folder: string, decoderType: LoweringOptions['decoderType'] = 'float16'): LoweringOptions {
  const files = { convertedFile: path.join(folder, 'converted'), transposedFile: path.join(folder, 'transposed') };
  return { ...DEFAULT_LOWERING, ...files, decoderType, capacity: 8, weightsRoot: folder };
}

async function write(given: Given, decoderType?: LoweringOptions['decoderType'], options?: WriteWeightsOptions) {
  const folder = temporaryFolder();
  const made = checkpoint(folder, given);
  const plan = lowering(folder, decoderType);
  await writeLoweredWeights(made.model, plan, options);
  const weights = new LoweredWeights(made.model, plan);
  const read = (name: string) => {
    const { file, offsetBytes, sizeBytes, ...rest } = weights.locate(`${LINEAR}.${name}`);
    return { ...rest, file, bytes: new Uint8Array(readFileSync(file).subarray(offsetBytes, offsetBytes + sizeBytes)) };
  };
  return { ...made, folder, weights, read };
}

const halves = (bytes: Uint8Array, value: (bits: number) => number) =>
  Float32Array.from(new Uint16Array(bytes.slice().buffer), value);

describe('int4', () => {
  // Small blocks: one word of each row at a time, pieces of two rows, what is left over.
  test.each([
    { rows: 2, columns: 8, groups: 1, blockBytes: 64 },
    { rows: 6, columns: 40, groups: 5, blockBytes: 30 },
    { rows: 130, columns: 264, groups: 3, blockBytes: undefined },
    { rows: 130, columns: 264, groups: 3, blockBytes: 16384 },
    { rows: 34, columns: 2048, groups: 16, blockBytes: 5000 },
  ])("$rows × $columns in blocks of $blockBytes: nibbles of [K, N] in two's complement", async (given) => {
    const { rows, columns, groups, blockBytes } = given;
    const { values, scales, read } = await write({ rows, columns, groups, bits: 4 }, 'float16', { blockBytes });
    const weight = read('weight_int4');
    expect(weight).toMatchObject({ type: 'int4', shape: [columns, rows] });
    const turned = Int32Array.from(values, (_, at) => {
      const nibble = (weight.bytes[at >> 1]! >> (4 * (at & 1))) & 15;
      return nibble >= 8 ? nibble - 16 : nibble;
    });
    expect(turned).toEqual(Int32Array.from(values, (_, at) => values[(at % rows) * columns + Math.floor(at / rows)]!));
    const scale = read('weight_scale_transposed');
    expect(scale).toMatchObject({ type: 'float16', shape: [groups, rows] });
    const numbers = halves(scale.bytes, float16Value);
    expect(numbers).toEqual(scales.map((_, at) => scales[(at % rows) * groups + Math.floor(at / rows)]!));
  });

  test("scales in the decoder's type beside the packed weights, where the checkpoint has another", async () => {
    const given = { rows: 4, columns: 128, groups: 2, bits: 4 } as const;
    const converted = await write({ ...given, scaleType: 'BF16' });
    expect(converted.read('weight_scale')).toMatchObject({ type: 'float16', shape: [4, 2] });
    expect([...halves(converted.read('weight_scale').bytes, float16Value)]).toEqual([...converted.scales]);
    const asIs = await write({ ...given, scaleType: 'BF16' }, 'bfloat16');
    expect(asIs.read('weight_scale').file).toMatch(/model\.safetensors$/);
    expect(asIs.weights.converted.sizeBytes).toBe(0);
    expect([...halves(asIs.read('weight_scale_transposed').bytes, bfloat16Value)].sort()).toEqual(
      [...asIs.scales].sort(),
    );
  });

  test('one scale for a row is repeated for groups of 128', async () => {
    const { scales, read, weights } = await write({ rows: 4, columns: 256, groups: 1, bits: 4 });
    expect(weights.packed(LINEAR)).toMatchObject({ K: 256, N: 4, group: 128, repeat: 2 });
    const turned = read('weight_scale_transposed');
    expect(turned.shape).toEqual([2, 4]);
    expect([...halves(turned.bytes, float16Value)]).toEqual([...scales, ...scales]);
    expect([...halves(read('weight_scale').bytes, float16Value)]).toEqual([...scales].flatMap((each) => [each, each]));
  });

  test('a scale of 0 becomes one of 1 with weights of 0; one too small for float16 the smallest', async () => {
    const scale = (i: number) => [0, 1e-9, 0.5, 0.25][i]!;
    const { read } = await write({ rows: 2, columns: 16, groups: 2, bits: 4, scale });
    expect([...halves(read('weight_scale_transposed').bytes, float16Value)]).toEqual([1, 0.5, 2 ** -24, 0.25]);
    const first = read('weight_int4').bytes.subarray(0, 8);
    expect(first.every((byte) => (byte & 15) === 0)).toBe(true);
    expect(first.some((byte) => byte >> 4 !== 0)).toBe(true);
    expect(
      read('weight_int4')
        .bytes.subarray(8)
        .some((byte) => (byte & 15) !== 0),
    ).toBe(true);
  });

  test.each([-0.5, Number.NaN, Number.POSITIVE_INFINITY])('a scale of %d is refused', async (bad) => {
    await expect(write({ rows: 2, columns: 8, groups: 1, bits: 4, scale: () => bad })).rejects.toThrow(/scales of/);
  });

  test('an odd number of outputs is refused: two of them share a byte', async () => {
    await expect(write({ rows: 3, columns: 8, groups: 1, bits: 4 })).rejects.toThrow(/even number/);
  });
});

test('8 bits become plain numbers', async () => {
  const { values, scales, read } = await write({ rows: 3, columns: 64, groups: 2, bits: 8 }, 'float32');
  const { bytes, shape, type } = read('weight');
  expect({ shape, type }).toEqual({ shape: [3, 64], type: 'float32' });
  const expected = Float32Array.from(values, (value, i) => value * scales[Math.floor(i / 32)]!);
  expect(new Float32Array(bytes.slice().buffer)).toEqual(expected);
});

test('a number too large for its type is named', async () => {
  const given = { rows: 2, columns: 8, groups: 1, bits: 8, scale: () => 1e5 } as const;
  await expect(write(given)).rejects.toThrow(/q_proj.*range of float16/);
});

describe('whole or not at all', () => {
  const given = { rows: 64, columns: 512, groups: 4, bits: 4, scaleType: 'BF16' } as const;

  test('progress ends at the sum of both files', async () => {
    const reports: [number, number][] = [];
    const { weights } = await write(given, 'float16', { onProgress: (done, total) => reports.push([done, total]) });
    const total = weights.converted.sizeBytes + weights.transposed.sizeBytes;
    expect(reports.at(-1)).toEqual([total, total]);
    expect(reports.map(([done]) => done)).toEqual(reports.map(([done]) => done).sort((a, b) => a - b));
  });

  test('an abort leaves nothing, and what was there before', async () => {
    const folder = temporaryFolder();
    const { model } = checkpoint(folder, given);
    const plan = lowering(folder);
    writeFileSync(plan.convertedFile, 'before');
    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error('enough'));
    const writing = writeLoweredWeights(model, plan, { signal: controller.signal, onProgress });
    await expect(writing).rejects.toThrow('enough');
    expect(readFileSync(plan.convertedFile).length).toBeGreaterThan(6); // the first file was complete
    expect(readdirSync(folder).sort()).toEqual(['converted', 'model.safetensors']);
    await expect(writeLoweredWeights(model, plan, { signal: AbortSignal.abort(new Error('at once')) })).rejects.toThrow(
      'at once',
    );
  });

  test('a checkpoint that was cut, or is gone, leaves nothing', async () => {
    const folder = temporaryFolder();
    const { model } = checkpoint(folder, given);
    const plan = lowering(folder);
    const file = path.join(folder, 'model.safetensors');
    writeFileSync(file, readFileSync(file).subarray(0, 5000));
    await expect(writeLoweredWeights(model, plan)).rejects.toThrow(/it was cut/);
    rmSync(file);
    await expect(writeLoweredWeights(model, plan)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a folder that cannot be written to is an error of the file system', async () => {
    const folder = temporaryFolder();
    const { model } = checkpoint(folder, given);
    const plan = { ...lowering(folder), convertedFile: path.join(folder, 'nowhere', 'converted') };
    await expect(writeLoweredWeights(model, plan)).rejects.toMatchObject({ code: 'ENOENT' });
    mkdirSync(path.join(folder, 'nowhere', 'converted'), { recursive: true });
    await expect(writeLoweredWeights(model, plan)).rejects.toMatchObject({ code: expect.stringMatching(/^E/) });
    expect(existsSync(plan.transposedFile)).toBe(false);
    expect(readdirSync(path.join(folder, 'nowhere'))).toEqual(['converted']);
  });
});

describe('16-bit numbers', () => {
  test('every float16 and bfloat16 comes back from its value', () => {
    const all = Array.from({ length: 65536 }, (_, bits) => bits);
    const changed = (encode: (value: number) => number, decode: (bits: number) => number) =>
      all.filter((bits) => !Number.isNaN(decode(bits)) && encode(decode(bits)) !== bits);
    expect(changed(float16Bits, float16Value)).toEqual([]);
    expect(changed(bfloat16Bits, bfloat16Value)).toEqual([]);
    expect(float16Value(float16Bits(Number.NaN))).toBeNaN();
    expect(bfloat16Value(bfloat16Bits(Number.NaN))).toBeNaN();
  });

  test('rounding is to nearest, ties to even', () => {
    expect(float16Bits(1 + 2 ** -11)).toBe(float16Bits(1));
    expect(float16Bits(1 + 3 * 2 ** -11)).toBe(float16Bits(1 + 2 ** -9));
    expect(float16Bits(1 + 2 ** -11 + 2 ** -20)).toBe(float16Bits(1 + 2 ** -10));
    expect(float16Value(float16Bits(65519))).toBe(65504);
    expect(float16Value(float16Bits(65520))).toBe(Number.POSITIVE_INFINITY);
    expect(float16Value(float16Bits(2 ** -25))).toBe(0);
    expect(float16Value(float16Bits(1.5 * 2 ** -24))).toBe(2 ** -23);
    expect(float16Value(float16Bits(2 ** -14 - 2 ** -26))).toBe(2 ** -14);
    expect(bfloat16Value(bfloat16Bits(1 + 2 ** -8))).toBe(1);
    expect(bfloat16Value(bfloat16Bits(1 + 3 * 2 ** -8))).toBe(1 + 2 ** -6);
  });
});
