import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { EmbeddingTable } from '#sdk/engine/shared/embedding-table.js';
import { temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const values = [
  [1, -2.5, 0],
  [0.15625, 65504, -0],
  [3.140625, 2 ** -24, 2 ** -14],
];

function fileOf(bytes: Uint8Array, offset = 3): string {
  const file = path.join(temporaryFolder(), 'weights.bin');
  writeFileSync(file, Buffer.concat([Buffer.alloc(offset), bytes]));
  return file;
}
const location = (file: string, dtype: 'F32' | 'F16' | 'BF16' | 'I8', sizeBytes: number) => {
  return { file, dtype, offsetBytes: 3, sizeBytes, shape: [3, 3] };
};

describe('rows at any offset as float32', () => {
  test('F32', () => {
    const bytes = new Uint8Array(Float32Array.from(values.flat()).buffer);
    using table = new EmbeddingTable(location(fileOf(bytes), 'F32', bytes.length));
    expect([...table.lookUp(Int32Array.of(2, 0, 2))]).toEqual([...values[2]!, ...values[0]!, ...values[2]!]);
  });

  test('F16', () => {
    // 1, -2.5, 0 | 0.15625, 65504, -0 | 3.140625, the smallest subnormal, the smallest normal
    const halves = Uint16Array.of(0x3c00, 0xc100, 0, 0x3100, 0x7bff, 0x8000, 0x4248, 0x0001, 0x0400);
    using table = new EmbeddingTable(location(fileOf(new Uint8Array(halves.buffer)), 'F16', 18));
    expect([...table.lookUp(Int32Array.of(0, 1, 2))]).toEqual(values.flat());
  });

  test('BF16', () => {
    const floats = new Uint32Array(Float32Array.from(values.flat()).buffer);
    const halves = Uint16Array.from(floats, (bits) => bits >>> 16);
    using table = new EmbeddingTable(location(fileOf(new Uint8Array(halves.buffer)), 'BF16', 18));
    const rows = table.lookUp(Int32Array.of(0, 2));
    expect([...rows]).toEqual([1, -2.5, 0, 3.140625, 2 ** -24, 2 ** -14]);
  });
});

test('a file that was cut, and a type that is no float', () => {
  const file = fileOf(new Uint8Array(20));
  using table = new EmbeddingTable(location(file, 'F32', 36));
  expect(() => table.lookUp(Int32Array.of(2))).toThrow(expect.objectContaining({ code: 'ERR_MODEL_INVALID' }));
  expect(() => new EmbeddingTable(location(file, 'I8', 9))).toThrow(
    expect.objectContaining({ code: 'ERR_MODEL_UNSUPPORTED' }),
  );
});
