import type { TensorLocation } from '../architecture/architecture.js';
import { SdkError } from '../core/errors.js';
import { openMappedFile } from '../native/mapped-file.js';

/**
 * A float tensor as float32, whatever its 16- or 32-bit type: for small tensors and single rows.
 * @param rows only rows [first, first + count) of the outermost axis
 * @throws SdkError ERR_MODEL_INVALID for a tensor that is no float tensor
 */
export function readTensorF32(
  location: TensorLocation,
  rows?: { readonly first: number; readonly count: number },
): Float32Array {
  const range = rows === undefined ? location : rowRange(location, rows.first, rows.count);
  using file = openMappedFile(location.file, range);
  const { dtype } = location;
  // slice() also aligns: offsets in a file need not be multiples of the element size.
  const { buffer } = file.bytes.slice();
  if (dtype === 'F32') return new Float32Array(buffer);
  const halves = dtype === 'BF16' || dtype === 'F16' ? new Uint16Array(buffer) : null;
  if (halves === null) {
    throw new SdkError('ERR_MODEL_INVALID', `Expected a float tensor in ${location.file}, but it is ${dtype}.`, {
      details: { file: location.file, dtype, shape: location.shape },
    });
  }
  return dtype === 'BF16' ? bf16ToF32(halves) : f16ToF32(halves);
}

function rowRange(location: TensorLocation, first: number, count: number): { offsetBytes: number; sizeBytes: number } {
  const total = location.shape[0] ?? 0;
  if (!Number.isInteger(first) || !Number.isInteger(count) || first < 0 || count < 0 || first + count > total) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected rows within 0–${total}, but received ${first} + ${count}.`);
  }
  const rowBytes = total === 0 ? 0 : location.sizeBytes / total;
  return { offsetBytes: location.offsetBytes + first * rowBytes, sizeBytes: count * rowBytes };
}

/** bfloat16, as bits, to float32: exact. Same length. */
function bf16ToF32(source: Uint16Array): Float32Array {
  const bits = new Uint32Array(source.length);
  for (let i = 0; i < source.length; i += 1) bits[i] = source[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** IEEE half precision, as bits, to float32: exact, with subnormals, infinities and NaN. Same length. */
export function f16ToF32(source: Uint16Array): Float32Array {
  const result = new Float32Array(source.length);
  for (let i = 0; i < source.length; i += 1) {
    const bits = source[i]!;
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) result[i] = sign * fraction * 2 ** -24;
    else if (exponent === 31) result[i] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else result[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return result;
}
