/**
 * The token embedding, read row by row from the checkpoint file: one gigabyte for the 11B model that never has to be
 * in our memory (the page cache keeps the rows that are used).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import type { TensorLocation } from '../../architecture/architecture.js';
import { SdkError } from '../../core/errors.js';

const ELEMENT_BYTES = { F32: 4, F16: 2, BF16: 2 } as const;
type FloatDtype = keyof typeof ELEMENT_BYTES;

export class EmbeddingTable implements Disposable {
  readonly #file: number;
  readonly #offsetBytes: number;
  readonly #dtype: FloatDtype;
  readonly #columns: number;
  readonly #row: Uint8Array;

  /** @param location `[rows, columns]`, F32, F16 or BF16. */
  constructor(location: TensorLocation) {
    const { dtype, shape } = location;
    if (!(dtype in ELEMENT_BYTES)) {
      throw new SdkError('ERR_MODEL_UNSUPPORTED', `Expected the embedding as F32, F16 or BF16 but received ${dtype}.`);
    }
    this.#dtype = dtype as FloatDtype;
    this.#columns = shape[1]!;
    this.#offsetBytes = location.offsetBytes;
    this.#row = new Uint8Array(this.#columns * ELEMENT_BYTES[this.#dtype]);
    this.#file = openSync(location.file, 'r');
  }

  /** `[tokens.length, columns]` as float32. */
  lookUp(tokens: Int32Array): Float32Array {
    const result = new Float32Array(tokens.length * this.#columns);
    const bytes = new Uint8Array(result.buffer);
    tokens.forEach((token, index) => {
      const rowBytes = this.#row.byteLength;
      const read = readSync(this.#file, this.#row, 0, rowBytes, this.#offsetBytes + token * rowBytes);
      if (read !== rowBytes) {
        throw new SdkError(
          'ERR_MODEL_INVALID',
          `Expected ${rowBytes} bytes for token ${token} but read ${read}: the weights file was cut.`,
        );
      }
      if (this.#dtype === 'F32') bytes.set(this.#row, index * rowBytes);
      else {
        const halves = new Uint16Array(this.#row.buffer);
        const toFloat = this.#dtype === 'BF16' ? bfloat16ToFloat : float16ToFloat;
        for (let c = 0; c < this.#columns; c++) result[index * this.#columns + c] = toFloat(halves[c]!);
      }
    });
    return result;
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

const scratch = new DataView(new ArrayBuffer(4));

function bfloat16ToFloat(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

function float16ToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
