/**
 * Writes safetensors files tensor by tensor, so that a checkpoint larger than memory can be made. Layout and header
 * are known before the first byte: same tensors, same bytes.
 */
import { type FileHandle, open } from 'node:fs/promises';

export interface PlannedTensor {
  readonly name: string;
  readonly dtype: 'F32' | 'F16' | 'BF16' | 'I32' | 'I64';
  readonly shape: readonly number[];
}

const ELEMENT_BYTES = { F32: 4, F16: 2, BF16: 2, I32: 4, I64: 8 } as const;

export function tensorBytes({ dtype, shape }: PlannedTensor): number {
  return shape.reduce((product, side) => product * side, ELEMENT_BYTES[dtype]);
}

/** Widest elements first, then by name: every tensor is aligned to its element, as the reference writer does it. */
export function layoutOrder<T extends PlannedTensor>(tensors: readonly T[]): T[] {
  return [...tensors].sort(
    (a, b) => ELEMENT_BYTES[b.dtype] - ELEMENT_BYTES[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
}

/** Header with its length prefix, padded with spaces so that the data starts at a multiple of 8. */
export function encodeHeader(tensors: readonly PlannedTensor[]): Buffer {
  const header = new Map<string, unknown>([['__metadata__', { format: 'pt' }]]);
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + tensorBytes(tensor);
    header.set(tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] });
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = Buffer.alloc(8 + padded, ' ');
  bytes.writeBigUInt64LE(BigInt(padded));
  json.copy(bytes, 8);
  return bytes;
}

/** Bytes of the file up to the end of its first `done` tensors. */
export function sizeBehind(tensors: readonly PlannedTensor[], done: number): number {
  const data = tensors.slice(0, done).reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  return encodeHeader(tensors).length + data;
}

/** One file being written; tensors come in the planned order, each in any number of pieces. */
export class SafetensorsWriter implements AsyncDisposable {
  readonly #handle: FileHandle;
  #open = true;
  #position = 0;
  #expectedBytes: number;

  private constructor(handle: FileHandle, expectedBytes: number) {
    this.#handle = handle;
    this.#expectedBytes = expectedBytes;
  }

  /** `tensors` in the order in which they will be written; see `layoutOrder`. The file must not exist. */
  static async create(
    path: string,
    tensors: readonly PlannedTensor[],
    options: { readonly overwrite?: boolean } = {},
  ): Promise<SafetensorsWriter> {
    const handle = await open(path, options.overwrite === true ? 'w' : 'wx');
    const expectedBytes = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
    const writer = new SafetensorsWriter(handle, expectedBytes);
    try {
      await writer.#writeAll(encodeHeader(tensors));
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
    return writer;
  }

  /** Goes on with a file that an earlier run left, behind its first `done` tensors; what lies there is cut off. */
  static async resume(path: string, tensors: readonly PlannedTensor[], done: number): Promise<SafetensorsWriter> {
    const start = sizeBehind(tensors, done);
    const handle = await open(path, 'r+');
    const writer = new SafetensorsWriter(handle, sizeBehind(tensors, tensors.length) - start);
    try {
      if ((await handle.stat()).size < start) throw new RangeError(`${path} is shorter than its journal says`);
      await handle.truncate(start);
      writer.#position = start;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
    return writer;
  }

  async write(piece: ArrayBufferView): Promise<void> {
    this.#expectedBytes -= piece.byteLength;
    if (this.#expectedBytes < 0) throw new RangeError('more bytes were written than the header promises');
    await this.#writeAll(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
  }

  /** What was written is on the disk. */
  async sync(): Promise<void> {
    await this.#handle.datasync();
  }

  /** To the disk, so that a rename that follows never shows half a file after a power cut. */
  async finish(): Promise<void> {
    if (this.#expectedBytes !== 0)
      throw new RangeError(`${this.#expectedBytes} bytes of the header's promise are missing`);
    await this.#handle.sync();
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#handle.close();
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.#position);
      this.#position += bytesWritten;
      done += bytesWritten;
    }
  }
}
