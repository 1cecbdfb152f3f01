import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

export const GOLDEN = fileURLToPath(new URL('../../fixtures/golden/', import.meta.url));

/** JSON that a test takes apart freely. */
// biome-ignore lint/suspicious/noExplicitAny: the point of it
export type FreeJson = any;

export interface RawTensor {
  dtype: string;
  shape: number[];
  data: Buffer;
}

/** An empty folder that goes away with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'scenebus-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A copy of a golden checkpoint that a test may spoil. */
export function copyCheckpoint(name = 'tiny-a'): string {
  const folder = join(temporaryFolder(), name);
  cpSync(join(GOLDEN, name), folder, { recursive: true });
  return folder;
}

export function editJson(path: string, edit: (value: FreeJson) => void): void {
  const value = JSON.parse(readFileSync(path, 'utf8'));
  edit(value);
  writeFileSync(path, JSON.stringify(value));
}

export function readTensors(path: string): Map<string, RawTensor> {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, RawTensor>();
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    tensors.set(name, {
      dtype,
      shape,
      data: file.subarray(8 + headerBytes + offsets[0], 8 + headerBytes + offsets[1]),
    });
  }
  return tensors;
}

export function writeTensors(path: string, tensors: ReadonlyMap<string, RawTensor>): void {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.length] };
    offset += data.length;
  }
  writeFile(path, JSON.stringify(header), Buffer.concat([...tensors.values()].map((tensor) => tensor.data)));
}

/** A container of any header and data, sound or not. */
export function writeFile(path: string, header: string, data: Buffer): void {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  writeFileSync(path, Buffer.concat([length, Buffer.from(header), data]));
}

export function editTensors(path: string, edit: (tensors: Map<string, RawTensor>) => void): void {
  const tensors = readTensors(path);
  edit(tensors);
  writeTensors(path, tensors);
}
