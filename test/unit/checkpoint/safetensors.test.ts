import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeHeader } from '#calibration/quantize/safetensors-writer.js';
import { readSafetensorsHeader } from '#sdk/checkpoint/index.js';
import { temporaryFolder, writeFile } from './checkpoint-folder.js';

const entry = (begin: number, end: number, shape = [2], dtype = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

function fileWith(header: unknown, dataBytes: number): string {
  const path = join(temporaryFolder(), 'x.safetensors');
  writeFile(path, typeof header === 'string' ? header : JSON.stringify(header), Buffer.alloc(dataBytes));
  return path;
}

describe('readSafetensorsHeader', () => {
  test('gives absolute offsets, metadata and a hash of the header', async () => {
    const path = fileWith({ __metadata__: { format: 'pt' }, b: entry(8, 16), a: entry(0, 8) }, 16);
    const file = await readSafetensorsHeader(path);
    const start = file.sizeBytes - 16;
    expect(file.entries).toEqual([
      { name: 'b', dtype: 'F32', shape: [2], offsetBytes: start + 8, sizeBytes: 8 },
      { name: 'a', dtype: 'F32', shape: [2], offsetBytes: start, sizeBytes: 8 },
    ]);
    expect(file.metadata).toEqual({ format: 'pt' });
    expect(file.headerHash).toMatch(/^[0-9a-f]{64}$/);
  });

  test.each([
    ['data that was cut short', { a: entry(0, 8) }, 7, /ends at byte 8 of the data, but the file holds 7/],
    ['overlapping tensors', { a: entry(0, 8), b: entry(4, 12) }, 12, /b overlaps tensor a/],
    ['two tensors at one place', { a: entry(0, 8), b: entry(0, 8) }, 8, /overlaps/],
    ['a gap', { a: entry(0, 8), b: entry(12, 20) }, 20, /4 bytes before tensor b belong to no tensor/],
    ['a tail', { a: entry(0, 8) }, 9, /1 bytes after the last tensor/],
    ['offsets that run backwards', { a: entry(8, 0) }, 8, /run backwards/],
    ['negative offsets', { a: entry(-8, 0) }, 8, /no valid data_offsets/],
    ['a size that is not the shape', { a: entry(0, 8, [3]) }, 8, /needs 12 bytes, but its offsets span 8/],
    ['a size that is not the dtype', { a: entry(0, 8, [2], 'F16') }, 8, /needs 4 bytes, but its offsets span 8/],
    ['a shape whose product overflows', { a: entry(0, 8, [2 ** 52, 2 ** 52]) }, 8, /needs \d{30,} bytes/],
    ['a fractional shape', { a: entry(0, 8, [1.5]) }, 8, /no valid shape/],
    ['an entry that is no object', { a: 7 }, 0, /has no description/],
    ['a header that is no object', [], 0, /not a JSON object/],
    ['a header that is not JSON', '{"a":', 0, /not JSON/],
    [
      'a name stated twice',
      '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
      8,
      /a is stated twice/,
    ],
  ])('refuses %s', async (_, header, dataBytes, message) => {
    await expect(readSafetensorsHeader(fileWith(header, dataBytes))).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test.each([
    ['an empty file', Buffer.alloc(0), /only 0 bytes/],
    [
      'a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n'),
      /git lfs pull/,
    ],
    ['a PyTorch archive', Buffer.from('PK\x03\x04 and more and more'), /convert it to safetensors/],
    ['a GGUF file', Buffer.from('GGUF\x03\x00\x00\x00\x00\x00\x00\x00'), /GGUF/],
    ['a web page', Buffer.from('<!DOCTYPE html><html></html>'), /failed download/],
    ['noise', Buffer.alloc(100, 0xff), /not a safetensors file/],
  ])('says what %s is', async (_, bytes, message) => {
    const path = join(temporaryFolder(), 'x.safetensors');
    writeFileSync(path, bytes);
    await expect(readSafetensorsHeader(path)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test('refuses an oversized header without reading it', async () => {
    const path = join(temporaryFolder(), 'x.safetensors');
    const length = Buffer.alloc(9, '{');
    length.writeBigUInt64LE(BigInt(2 ** 30));
    writeFileSync(path, length);
    const file = openSync(path, 'r+'); // sparse: claims a gigabyte, holds nine bytes
    ftruncateSync(file, 2 ** 30 + 8);
    closeSync(file);
    await expect(readSafetensorsHeader(path)).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(/exceeds the limit/),
    });
  });

  test('refuses a header that is longer than the file', async () => {
    const path = join(temporaryFolder(), 'x.safetensors');
    const bytes = Buffer.alloc(20, '{');
    bytes.writeBigUInt64LE(1000n);
    writeFileSync(path, bytes);
    await expect(readSafetensorsHeader(path)).rejects.toThrow(
      /claims 1000 bytes, but the file has 20: the file was cut/,
    );
  });

  test('has no names that mean something to JavaScript', async () => {
    const path = join(temporaryFolder(), 'x.safetensors');
    const entry = (begin: number) => `{"dtype":"U8","shape":[2],"data_offsets":[${begin},${begin + 2}]}`;
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString'];
    const tensors = names.map((name, i) => `"${name}":${entry(2 * i)}`).join(',');
    const metadata = '"__metadata__":{"__proto__":"a","constructor":"b"}';
    writeFile(path, `{${metadata},${tensors}}`, Buffer.alloc(8));
    const file = await readSafetensorsHeader(path);
    expect(file.entries.map(({ name }) => name)).toEqual(names);
    expect(Object.entries(file.metadata)).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
    const written = encodeHeader(names.map((name) => ({ name, dtype: 'F32', shape: [1] })));
    expect(Object.keys(JSON.parse(written.toString('utf8', 8)))).toEqual(['__metadata__', ...names]);
  });

  test('is not confused by names with braces, quotes or backslashes', async () => {
    const file = await readSafetensorsHeader(fileWith({ '{"a": [': entry(0, 8), 'dtype\\"': entry(8, 16) }, 16));
    expect(file.entries.map((item) => item.name)).toEqual(['{"a": [', 'dtype\\"']);
  });

  test('says when there is no file', async () => {
    await expect(readSafetensorsHeader('/nowhere.safetensors')).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  });
});
