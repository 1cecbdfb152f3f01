/** The file that the bench writes for llama.cpp, read by the format's own words. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { q4Bytes, writeRandomGguf } from '../../bench/gguf.js';
import { TEXT_SHAPES } from '../../bench/shapes.js';
import { temporaryFolder } from '../checkpoint/checkpoint-folder.js';

const text = {
  ...TEXT_SHAPES['1b'],
  hiddenSize: 64,
  layers: 2,
  attentionHeads: 4,
  keyValueHeads: 2,
  headDim: 16,
  intermediateSize: 96,
  vocabularySize: 300,
};

/** A cursor over little-endian values. */
function reader(bytes: Buffer) {
  let at = 0;
  const take = (size: number) => {
    at += size;
    return bytes.subarray(at - size, at);
  };
  const u32 = () => take(4).readUInt32LE();
  const u64 = () => Number(take(8).readBigUInt64LE());
  const string = () => take(u64()).toString();
  const value = (type: number): unknown => {
    if (type === 8) return string();
    if (type === 6) return take(4).readFloatLE();
    if (type !== 9) return u32();
    const [of, count] = [u32(), u64()];
    return Array.from({ length: count }, () => value(of));
  };
  return { take, u32, u64, string, value, position: () => at };
}

test('writes every tensor where its header says, in blocks of finite scales', async () => {
  const file = path.join(temporaryFolder(), 'random.gguf');
  await writeRandomGguf(file, text, 128);
  const bytes = readFileSync(file);
  const { take, u32, u64, string, value, position } = reader(bytes);
  expect(take(4).toString()).toBe('GGUF');
  expect(u32()).toBe(3);
  const [tensorCount, valueCount] = [u64(), u64()];
  const values = new Map(Array.from({ length: valueCount }, () => [string(), value(u32())]));
  expect(values.get('llama.block_count')).toBe(2);
  expect(values.get('llama.attention.head_count_kv')).toBe(2);
  expect(values.get('tokenizer.ggml.tokens')).toHaveLength(300);
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = string();
    const sides = Array.from({ length: u32() }, u64);
    return { name, sides, type: u32(), offset: u64() };
  });
  expect(tensors).toHaveLength(2 * 9 + 3);
  expect(tensors.find(({ name }) => name === 'blk.1.ffn_down.weight')?.sides).toEqual([96, 64]);
  const start = Math.ceil(position() / 32) * 32;
  let end = 0;
  let weights = 0;
  for (const { name, sides, type, offset } of tensors) {
    expect(offset % 32).toBe(0);
    expect(offset).toBe(Math.ceil(end / 32) * 32);
    const count = sides.reduce((a, b) => a * b, 1);
    const size = type === 0 ? count * 4 : (count / 32) * 18;
    end = offset + size;
    if (type !== 2) continue;
    if (name !== 'token_embd.weight') weights += size;
    for (let block = start + offset; block < start + end; block += 18) {
      expect((bytes.readUInt16LE(block) >> 10) & 31).toBeLessThan(31);
    }
  }
  expect(bytes.length).toBe(start + Math.ceil(end / 32) * 32);
  expect(q4Bytes(text)).toBe(weights);
});
