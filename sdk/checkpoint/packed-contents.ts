/** Looks into the small tensors of packed weights, which shapes alone do not vouch for. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MllamaArchitecture, TensorLocation } from '../architecture/architecture.js';
import { openMappedFile } from '../native/mapped-file.js';
import { expectedTensors } from './expected-tensors.js';
import { readTensorF32 } from './read-tensor.js';

/** Every scale must be a finite number, and every stated shape that of the packed weight. Reads some MB per GB. */
export async function checkPackedContents(
  tensors: ReadonlyMap<string, TensorLocation>,
  architecture: MllamaArchitecture,
  signal?: AbortSignal,
): Promise<string[]> {
  const problems: string[] = [];
  for (const { name: base, shape } of expectedTensors(architecture)) {
    if (!tensors.has(`${base}_packed`)) continue;
    signal?.throwIfAborted();
    const stated = readIntegers(tensors.get(`${base}_shape`)!);
    if (stated[0] !== shape[0] || stated[1] !== shape[1]) {
      problems.push(`${base}_shape states [${stated.join(', ')}], but the packed weight is [${shape.join(', ')}]`);
    }
    const scale = tensors.get(`${base}_scale`)!;
    const bad = countNotFinite(scale);
    if (bad > 0) problems.push(`${base}_scale: ${bad} of its values are not finite numbers`);
    await nextTurn();
  }
  return problems;
}

function readIntegers(location: TensorLocation): number[] {
  using file = openMappedFile(location.file, location);
  const { buffer } = file.bytes.slice();
  return location.dtype === 'I64' ? Array.from(new BigInt64Array(buffer), Number) : Array.from(new Int32Array(buffer));
}

function countNotFinite(location: TensorLocation): number {
  let bad = 0;
  if (location.dtype === 'F32' || location.offsetBytes % 2 !== 0) {
    for (const value of readTensorF32(location)) if (!Number.isFinite(value)) bad += 1;
    return bad;
  }
  // 16-bit scales are looked at in place: not finite = all exponent bits set.
  using file = openMappedFile(location.file, location);
  const exponent = location.dtype === 'BF16' ? 0x7f80 : 0x7c00;
  const bits = new Uint16Array(file.bytes.buffer, file.bytes.byteOffset, location.sizeBytes / 2);
  for (let i = 0; i < bits.length; i += 1) if ((bits[i]! & exponent) === exponent) bad += 1;
  return bad;
}
