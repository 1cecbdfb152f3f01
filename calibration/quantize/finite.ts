/** NaN and infinity spread without a word and end in a model that says nothing: looked for wherever values pass. */
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { readTensorF32 } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';

/** Values read at a time when a damaged tensor is looked for: 16 MB. */
const CHUNK_ELEMENTS = 4 << 20;

export function allFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i += 1) sum += values[i]! * 0; // 0, unless one of them is not finite
  return sum === 0;
}

/** Of little-endian 16-bit floats, at whatever address. */
export function allFinite16(bytes: Uint8Array, dtype: 'BF16' | 'F16'): boolean {
  const exponent = dtype === 'BF16' ? 0x7f80 : 0x7c00;
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    if (((bytes[i]! | (bytes[i + 1]! << 8)) & exponent) === exponent) return false;
  }
  return true;
}

export function damagedTensor(tensor: string, file: string): SdkError {
  return new SdkError(
    'ERR_MODEL_INVALID',
    `${tensor} holds values that are not finite numbers: the source is damaged.`,
    { details: { tensor, file } },
  );
}

/** What to say of a part of the model that gives such values: the tensor that holds one, where there is one. */
export function damagedPart(model: ModelDescription, where: string, prefixes: readonly string[]): SdkError {
  for (const [name, tensor] of model.tensors) {
    if (!prefixes.some((prefix) => name.startsWith(prefix))) continue;
    if (tensor.shape.length === 0) continue;
    const rowElements = tensor.shape.slice(1).reduce((product, side) => product * side, 1);
    const rows = tensor.shape[0]!;
    const rowsAtOnce = Math.max(1, Math.floor(CHUNK_ELEMENTS / rowElements));
    for (let first = 0; first < rows; first += rowsAtOnce) {
      if (allFinite(readTensorF32(tensor, { first, count: Math.min(rowsAtOnce, rows - first) }))) continue;
      const { message, details } = damagedTensor(name, tensor.file);
      return new SdkError('ERR_MODEL_INVALID', `${message} Found in ${where}.`, { details });
    }
  }
  return new SdkError(
    'ERR_MODEL_INVALID',
    `Expected finite numbers, but ${where} gives others, though its weights are finite: they are too large. The source is damaged, or made for another model.`,
    { details: { where } },
  );
}
