/**
 * What calibration decided, a file for each layer: factors folded into weights, norms that take them back, and the
 * scales of groups. Lies on disk while quantising, so that memory stays bounded and a killed run goes on.
 */
import { access, rename } from 'node:fs/promises';
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { readSafetensorsHeader, readTensorF32 } from '#sdk/checkpoint/index.js';
import { openMappedFile } from '#sdk/native/index.js';
import { layoutOrder, type PlannedTensor, SafetensorsWriter } from './safetensors-writer.js';

/** Decided for one linear `[N, K]`. */
export interface LinearAdjustment {
  /** `[K]`: columns are multiplied by it; what comes before is divided by it. */
  readonly inputScale: Float32Array;
  /** `[N]`: rows are divided by it; what comes after is multiplied by it. */
  readonly outputScale: Float32Array;
  /** `[N, K/group]`: bfloat16 bits. */
  readonly groupScales: Uint16Array;
  /** `[N, K/8]`: eight values a word, lowest bits first, value + 8. */
  readonly packed: Int32Array;
  /** Σ (w − ŵ)² and Σ w² of the adjusted weights. */
  readonly squares: Float32Array;
}

export interface LayerAdjustments {
  /** By name of the weight. */
  readonly linears: ReadonlyMap<string, LinearAdjustment>;
  /** By name of the norm's weight: bfloat16 bits. */
  readonly norms: ReadonlyMap<string, Uint16Array>;
}

/**
 * By name of a tensor and what it is: `…q_proj.weight:input`, `:output`, `:scale`, `:packed`,
 * `:squares`, `…norm.weight:folded`.
 */
export type Adjustments = ReadonlyMap<string, TensorLocation>;

export async function writeAdjustments(file: string, { linears, norms }: LayerAdjustments): Promise<void> {
  const tensors: (PlannedTensor & { readonly data: ArrayBufferView })[] = [];
  for (const [name, { inputScale, outputScale, groupScales, packed, squares }] of linears) {
    const [rows, columns] = [outputScale.length, inputScale.length];
    tensors.push(
      { name: `${name}:input`, dtype: 'F32', shape: [columns], data: inputScale },
      { name: `${name}:output`, dtype: 'F32', shape: [rows], data: outputScale },
      { name: `${name}:scale`, dtype: 'BF16', shape: [rows, groupScales.length / rows], data: groupScales },
      { name: `${name}:packed`, dtype: 'I32', shape: [rows, columns / 8], data: packed },
      { name: `${name}:squares`, dtype: 'F32', shape: [2], data: squares },
    );
  }
  for (const [name, bits] of norms) {
    tensors.push({ name: `${name}:folded`, dtype: 'BF16', shape: [bits.length], data: bits });
  }
  const ordered = layoutOrder(tensors);
  const draft = `${file}.draft`;
  {
    await using writer = await SafetensorsWriter.create(draft, ordered, { overwrite: true });
    for (const { data } of ordered) await writer.write(data);
    await writer.finish();
  }
  await rename(draft, file);
}

export async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

export async function readAdjustments(files: readonly string[]): Promise<Adjustments> {
  const all = new Map<string, TensorLocation>();
  for (const file of files) {
    for (const { name, dtype, shape, offsetBytes, sizeBytes } of (await readSafetensorsHeader(file)).entries) {
      all.set(name, { file, dtype: dtype as TensorLocation['dtype'], shape, offsetBytes, sizeBytes });
    }
  }
  return all;
}

/** Rows `[count, K]` of a weight as float32, with what is decided about it. */
export function adjustedRows(
  source: TensorLocation,
  rows: { readonly first: number; readonly count: number },
  scales: { readonly input: Float32Array; readonly output: Float32Array },
): Float32Array {
  const values = readTensorF32(source, rows);
  const columns = scales.input.length;
  for (let row = 0; row < rows.count; row += 1) {
    const divisor = scales.output[rows.first + row]!;
    const start = row * columns;
    for (let i = 0; i < columns; i += 1) {
      values[start + i] = Math.fround(values[start + i]! * scales.input[i]!) / divisor;
    }
  }
  return values;
}

/** Rows of what is stored, as it is. */
export function adjustedBytes(location: TensorLocation, first = 0, count = location.shape[0]!): Uint8Array {
  const rowBytes = location.sizeBytes / location.shape[0]!;
  using mapped = openMappedFile(location.file, {
    offsetBytes: location.offsetBytes + first * rowBytes,
    sizeBytes: count * rowBytes,
  });
  return mapped.bytes.slice();
}
