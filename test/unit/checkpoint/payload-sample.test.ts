import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { samplePayload } from '#sdk/checkpoint/payload-sample.js';
import { readSafetensorsHeader } from '#sdk/checkpoint/safetensors.js';
import { type RawTensor, temporaryFolder, writeTensors } from './checkpoint-folder.js';

test('looks at the largest tensors where there are very many, and reads little of each', async () => {
  const file = join(temporaryFolder(), 'many.safetensors');
  const tensors = new Map<string, RawTensor>();
  for (let i = 0; i < 600; i += 1) {
    const sizeBytes = i < 100 ? 64 : 20_000;
    tensors.set(`tensor.${i}`, { dtype: 'U8', shape: [sizeBytes], data: Buffer.alloc(sizeBytes, i) });
  }
  writeTensors(file, tensors);
  const header = await readSafetensorsHeader(file);
  const first = await samplePayload([header]);
  const changed = async (name: string, at: number) => {
    const { offsetBytes } = header.entries.find((entry) => entry.name === name)!;
    const before = readFileSync(file);
    const bytes = Buffer.from(before);
    bytes[offsetBytes + at] = bytes[offsetBytes + at]! ^ 1;
    writeFileSync(file, bytes);
    const hash = await samplePayload([header]);
    writeFileSync(file, before);
    return hash !== first;
  };
  expect(await changed('tensor.100', 8000)).toBe(true);
  expect(await changed('tensor.599', 12_000)).toBe(true);
  expect(await changed('tensor.99', 32)).toBe(false); // of the small ones, those first by name are looked at
  expect(await changed('tensor.100', 0)).toBe(false);
});

test('says when a file is gone meanwhile', async () => {
  const path = join(temporaryFolder(), 'gone.safetensors');
  const file = { path, sizeBytes: 1, modifiedMs: 0, entries: [], metadata: {}, headerHash: '' };
  await expect(samplePayload([file])).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND', details: { file: path } });
});
