/** The layouts of other tools, by words whose every digit was placed by hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  awqLinear,
  compressedLinear,
  gptqLinear,
  LayoutProblem,
  mlxLinear,
  type Sibling,
} from '#calibration/quantize/sources/formats.js';
import { f16Bits, packedTensor } from '#calibration/quantize/sources/packed-linear.js';
import type { TensorDtype } from '#sdk/architecture/architecture.js';
import { readSafetensorsHeader } from '#sdk/checkpoint/index.js';
import { f16ToF32 } from '#sdk/checkpoint/read-tensor.js';
import { type RawTensor, temporaryFolder, writeTensors } from '../../checkpoint/checkpoint-folder.js';

const bytes = (array: ArrayBufferView) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
const words = (shape: number[], ...values: number[]): RawTensor => ({
  dtype: 'I32',
  shape,
  data: bytes(Uint32Array.from(values)),
});
const floats = (shape: number[], ...values: number[]): RawTensor => ({
  dtype: 'F32',
  shape,
  data: bytes(Float32Array.from(values)),
});

/** A file with the tensors of one linear. */
async function siblings(tensors: Record<string, RawTensor>): Promise<Sibling> {
  const path = join(temporaryFolder(), 'x.safetensors');
  writeTensors(path, new Map(Object.entries(tensors)));
  const { entries } = await readSafetensorsHeader(path);
  expect(readFileSync(path).length).toBeGreaterThan(0);
  return (suffix) => {
    const entry = entries.find(({ name }) => name === suffix);
    return entry && { ...entry, file: path, dtype: entry.dtype as TensorDtype };
  };
}

const ONES = Array.from({ length: 8 }, () => 1);

describe('GPTQ', () => {
  // Eight outputs, eight inputs: word n holds the inputs of output n, lowest bits first.
  const qweight = words([1, 8], 0x76543210, 0x89abcdef, 0, 0x11111111, 0xffffffff, 0x80000000, 0x00000008, 0x0f0f0f0f);
  const make = (more: Record<string, RawTensor>) => siblings({ qweight, ...more });

  test('has eight inputs in a word, and zeros less one in format 1', async () => {
    const find = await make({
      qzeros: words([1, 1], 0x77777777),
      scales: floats([1, 8], ...ONES.map((_, n) => n + 1)),
    });
    const tensor = packedTensor(gptqLinear({ outputs: 8, inputs: 8 }, find, { groupSize: 8, version: 1 }));
    expect(Array.from(tensor.rows(0, 2))).toEqual([
      ...[-8, -7, -6, -5, -4, -3, -2, -1],
      ...[7, 6, 5, 4, 3, 2, 1, 0].map((value) => value * 2),
    ]);
    expect(Array.from(tensor.rows(5, 3))).toEqual([
      ...[-8, -8, -8, -8, -8, -8, -8, 0].map((value) => value * 6),
      ...[0, -8, -8, -8, -8, -8, -8, -8].map((value) => value * 7),
      ...[7, -8, 7, -8, 7, -8, 7, -8].map((value) => value * 8),
    ]);
    expect(tensor.int4).toMatchObject({ groupSize: 8, scaleType: 'BF16' });
    expect(Array.from(tensor.int4!.packed(0, 2), (word) => word >>> 0)).toEqual([0x76543210, 0x89abcdef]);
  });

  test('has zeros as they are in format 2, one for each output, eight in a word', async () => {
    const find = await make({ qzeros: words([1, 1], 0x76543210), scales: floats([1, 8], ...ONES) });
    const tensor = packedTensor(gptqLinear({ outputs: 8, inputs: 8 }, find, { groupSize: -1, version: 2 }));
    expect(Array.from(tensor.rows(0, 2))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 14, 13, 12, 11, 10, 9, 8, 7]);
    expect(Array.from(tensor.rows(4, 1))).toEqual([11, 11, 11, 11, 11, 11, 11, 11]);
    expect(tensor.int4).toBeUndefined(); // not symmetric: must be rounded again
    const first = packedTensor(gptqLinear({ outputs: 8, inputs: 8 }, find, { groupSize: -1, version: 1 }));
    expect(first.rows(0, 1)[0]).toBe(-1);
  });

  test('may name the group of each input (desc_act)', async () => {
    const find = await make({
      qzeros: words([2, 1], 0x77777777, 0x77777777),
      scales: floats([2, 8], ...ONES, ...ONES.map(() => 100)),
      g_idx: words([8], 1, 0, 1, 0, 1, 0, 1, 0),
    });
    const tensor = packedTensor(gptqLinear({ outputs: 8, inputs: 8 }, find, { groupSize: 4, version: 1 }));
    expect(Array.from(tensor.rows(0, 1))).toEqual([-800, -7, -600, -5, -400, -3, -200, -1]);
    expect(tensor.int4).toBeUndefined();
    const wrong = await make({
      qzeros: words([2, 1], 0, 0),
      scales: floats([2, 8], ...ONES, ...ONES),
      g_idx: words([8], 1, 0, 1, 0, 1, 0, 1, 2),
    });
    expect(() => gptqLinear({ outputs: 8, inputs: 8 }, wrong, { groupSize: 4, version: 1 })).toThrow(LayoutProblem);
  });
});

describe('AWQ', () => {
  test('has eight outputs in a word, in the order 0 2 4 6 1 3 5 7', async () => {
    // Nibbles from the lowest: outputs 0, 2, 4, 6, 1, 3, 5, 7.
    const find = await siblings({
      qweight: words([2, 1], 0x75316420, 0x00000000),
      qzeros: words([1, 1], 0x00000000),
      scales: floats([1, 8], 1, 10, 100, 1, 1, 1, 1, 0.5),
    });
    const tensor = packedTensor(awqLinear({ outputs: 8, inputs: 2 }, find, { groupSize: 2 }));
    expect(Array.from(tensor.rows(0, 8))).toEqual([0, 0, 10, 0, 200, 0, 3, 0, 4, 0, 5, 0, 6, 0, 3.5, 0]);
  });

  test('takes its zeros in the same order', async () => {
    const find = await siblings({
      qweight: words([2, 1], 0x88888888, 0x88888888),
      qzeros: words([1, 1], 0x75316420),
      scales: floats([1, 8], ...ONES),
    });
    const tensor = packedTensor(awqLinear({ outputs: 8, inputs: 2 }, find, { groupSize: 2 }));
    expect(Array.from({ length: 8 }, (_, n) => tensor.rows(n, 1)[0])).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
  });
});

describe('MLX', () => {
  test('has a scale and a bias for each group, lowest bits first', async () => {
    const find = await siblings({
      weight: { ...words([1, 1], 0x76543210), dtype: 'U32' },
      scales: floats([1, 2], 0.5, 2),
      biases: floats([1, 2], -1, 10),
    });
    const tensor = packedTensor(mlxLinear({ outputs: 1, inputs: 8 }, find, { groupSize: 4, bits: 4 }));
    expect(Array.from(tensor.rows(0, 1))).toEqual([-1, -0.5, 0, 0.5, 18, 20, 22, 24]);
    expect(tensor.int4).toBeUndefined();
  });

  test('lets integers of 6 bits cross from word to word', async () => {
    // 16 values of 6 bits: 0 … 15, as one number of 96 bits.
    let whole = 0n;
    for (let i = 15n; i >= 0n; i -= 1n) whole = (whole << 6n) | i;
    const parts = [0n, 32n, 64n].map((shift) => Number((whole >> shift) & 0xffffffffn));
    const find = await siblings({
      weight: { ...words([1, 3], ...parts), dtype: 'U32' },
      scales: floats([1, 1], 1),
      biases: floats([1, 1], 0),
    });
    const tensor = packedTensor(mlxLinear({ outputs: 1, inputs: 16 }, find, { groupSize: 16, bits: 6 }));
    expect(Array.from(tensor.rows(0, 1))).toEqual(Array.from({ length: 16 }, (_, i) => i));
  });
});

describe('compressed-tensors', () => {
  const weight_packed = words([2, 1], 0x76543210, 0xfedcba98);
  const shape = { outputs: 2, inputs: 8 };

  test('packs zero points along the outputs', async () => {
    const find = await siblings({
      weight_packed,
      weight_scale: floats([2, 2], 1, 10, 2, 3),
      weight_zero_point: words([1, 2], 0x000000a4, 0x000000c8), // first group: 4 and 10; second: 8 and 12
    });
    const tensor = packedTensor(compressedLinear(shape, find, { groupSize: 4, bits: 4, asymmetric: true }));
    expect(Array.from(tensor.rows(0, 2))).toEqual([
      ...[-4, -3, -2, -1, -40, -30, -20, -10],
      ...[-4, -2, 0, 2, 0, 3, 6, 9],
    ]);
    expect(tensor.int4).toBeUndefined();
  });

  test('has them plain in its first releases', async () => {
    const find = await siblings({
      weight_packed,
      weight_scale: floats([2, 1], 1, 1),
      weight_zero_point: { dtype: 'I8', shape: [2, 1], data: Buffer.from([-8, 7]) },
    });
    const tensor = packedTensor(compressedLinear(shape, find, { groupSize: 0, bits: 4, asymmetric: true }));
    expect(Array.from(tensor.rows(0, 2))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, -7, -6, -5, -4, -3, -2, -1, 0]);
  });

  test('keeps integers where every zero point is the middle', async () => {
    const find = await siblings({
      weight_packed,
      weight_scale: floats([2, 1], 0.1, 1),
      weight_zero_point: words([1, 1], 0x00000088),
    });
    const linear = compressedLinear(shape, find, { groupSize: 8, bits: 4, asymmetric: true });
    // 0.1 is no 16-bit number: kept integers would get other scales.
    expect(packedTensor(linear).int4).toBeUndefined();
    const halves = Float32Array.of(f16ToF32(Uint16Array.of(f16Bits(0.1)))[0]!, 1);
    expect(packedTensor({ ...linear, scales: halves }).int4).toMatchObject({ scaleType: 'F16', groupSize: 8 });
  });
});

test('says what of a layout does not fit', async () => {
  const find = await siblings({
    qweight: words([1, 8], ...ONES),
    qzeros: words([1, 1], 0),
    scales: words([1, 8], ...ONES),
  });
  const shape = { outputs: 8, inputs: 8 };
  expect(() => gptqLinear(shape, find, { groupSize: 8, version: 1 })).toThrow(
    'scales: expected F32 or F16 or BF16, the file has I32',
  );
  expect(() => gptqLinear(shape, find, { groupSize: 4, version: 1 })).toThrow(
    'qzeros: config.json implies [2, 1], the file has [1, 1]',
  );
  expect(() => gptqLinear(shape, () => undefined, { groupSize: 8, version: 1 })).toThrow('qweight [1, 8] is missing');
});

test('rounds to float16 as IEEE 754 says', () => {
  const back = (value: number) => f16ToF32(Uint16Array.of(f16Bits(value)))[0];
  for (const value of [0, 1, -1, 0.5, 65_504, 2 ** -14, 2 ** -24, 1.5 * 2 ** -24 * 2, 0.333251953125])
    expect(back(value)).toBe(value);
  expect(back(1 + 2 ** -11)).toBe(1); // a tie, to even
  expect(back(1 + 3 * 2 ** -11)).toBe(1 + 2 ** -9);
  expect(back(2047.5)).toBe(2048);
  expect(back(2 ** -25)).toBe(0);
  expect(back(65_520)).toBe(Number.POSITIVE_INFINITY);
  expect(back(Number.NaN)).toBeNaN();
  for (let bits = 0; bits < 0x7c00; bits += 7) expect(f16Bits(f16ToF32(Uint16Array.of(bits))[0]!)).toBe(bits);
});
