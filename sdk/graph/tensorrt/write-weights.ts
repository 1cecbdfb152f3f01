/**
 * Makes the weight files of the lowering from a checkpoint: in bounded memory whatever the model's size, and whole or
 * not at all.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { ModelDescription, TensorLocation } from '../../architecture/architecture.js';
import { bfloat16Bits, bfloat16Value, float16Bits, float16Value } from './half.js';
import type { LoweredType, LoweringOptions } from './options.js';
import { transposeNibbles } from './transpose.js';
import { LoweredWeights, type MadeWeight, type WeightsFile } from './weights.js';

const BLOCK_BYTES = 64 * 2 ** 20;
const VALUE_BYTES = { F32: 4, F16: 2, BF16: 2 } as const;

export interface WriteWeightsOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
  /** Of a transposed weight, made at once; a larger one is read once per block. A sixteenth is read at once. */
  readonly blockBytes?: number | undefined;
}

/** Both files; see `LoweredWeights` for which of them is needed when. */
export async function writeLoweredWeights(
  model: ModelDescription,
  lowering: LoweringOptions,
  options: WriteWeightsOptions = {},
): Promise<void> {
  const { converted, transposed } = new LoweredWeights(model, lowering);
  const total = converted.sizeBytes + transposed.sizeBytes;
  let before = 0;
  for (const file of [converted, transposed]) {
    await writeWeightsFile(file, { ...options, onProgress: (done) => options.onProgress?.(before + done, total) });
    before += file.sizeBytes;
  }
}

/**
 * Replaces the file when it is complete and on the disk. On an error, or when `signal` says so, nothing is left.
 *
 * @throws TypeError a scale that is negative or not finite, RangeError a number too large for its new type or a
 * checkpoint that was cut, and what the file system says
 */
export async function writeWeightsFile(target: WeightsFile, options: WriteWeightsOptions = {}): Promise<void> {
  const { signal, onProgress, blockBytes = BLOCK_BYTES } = options;
  signal?.throwIfAborted();
  const temporary = `${target.file}.${process.pid}.partial`;
  const sources = new Sources(signal, blockBytes);
  let output: FileHandle | undefined;
  try {
    output = await open(temporary, 'w');
    for (const weight of target.weights) {
      let at = weight.offsetBytes;
      for await (const piece of piecesOf(weight, sources)) {
        await writeAll(output, piece, at);
        at += piece.byteLength;
        onProgress?.(at, target.sizeBytes);
      }
      const expected = weight.offsetBytes + weight.sizeBytes;
      if (at !== expected) throw new RangeError(`expected ${weight.name} to end at byte ${expected}, it ends at ${at}`);
    }
    await output.sync();
    await output.close();
    output = undefined;
    await rename(temporary, target.file);
  } catch (error) {
    await output?.close();
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await sources.close();
  }
}

/** The bytes of a weight, one after another. */
async function* piecesOf({ name, recipe, shape }: MadeWeight, sources: Sources): AsyncGenerator<Uint8Array> {
  switch (recipe.kind) {
    case 'cast': {
      const all = recipe.source.shape.reduce((product, size) => product * size, 1);
      const step = Math.ceil(sources.chunkBytes / 4 / recipe.repeat);
      for (let at = 0; at < all; at += step) {
        const values = await sources.floats(recipe.source, at, Math.min(step, all - at));
        yield encode(repeated(values, recipe.repeat), recipe.type, name);
      }
      return;
    }
    case 'transposed scale': {
      const [groups, rows] = shape as [number, number];
      const stored = await sources.floats(recipe.scale, 0, (rows * groups) / recipe.repeat);
      checkScales(stored, name);
      const values = repeated(stored, recipe.repeat);
      const turned = new Float32Array(values.length);
      for (let row = 0; row < rows; row++) {
        for (let group = 0; group < groups; group++) {
          turned[group * rows + row] = Math.max(values[row * groups + group]! || 1, SMALLEST[recipe.type]);
        }
      }
      yield encode(turned, recipe.type, name);
      return;
    }
    case 'transposed':
      yield* transposedPieces(recipe.packed, recipe.scale, name, sources);
      return;
    case 'dequantized':
      yield* dequantizedPieces(recipe.packed, recipe.scale, recipe.type, name, sources);
  }
}

function repeated(values: Float32Array, times: number): Float32Array {
  return times === 1
    ? values
    : Float32Array.from({ length: values.length * times }, (_, i) => values[Math.floor(i / times)]!);
}

/** A scale that is not 0 stays so in the narrower type: the runtime takes no scale of 0. */
const SMALLEST: Readonly<Record<LoweredType, number>> = { float16: 2 ** -24, bfloat16: 2 ** -126, float32: 2 ** -126 };

async function* transposedPieces(packed: TensorLocation, scale: TensorLocation, name: string, sources: Sources) {
  const [rows, words] = packed.shape as [number, number];
  const groups = scale.shape[1]!;
  const wordsPerGroup = words / groups;
  const scales = await sources.floats(scale, 0, rows * groups);
  checkScales(scales, name);
  const blockWords = Math.max(1, Math.min(words, Math.floor(sources.blockBytes / (rows * 4))));
  const chunkRows = Math.max(2, 2 * Math.floor(sources.chunkBytes / (words * 8)));
  for (let firstWord = 0; firstWord < words; firstWord += blockWords) {
    const count = Math.min(blockWords, words - firstWord);
    const block = new Uint8Array(count * rows * 4);
    for (let row = 0; row < rows; row += chunkRows) {
      const height = Math.min(chunkRows, rows - row);
      const chunk = new Uint32Array(await sources.bytes(packed, row * words * 4, height * words * 4));
      for (let group = row * groups; group < (row + height) * groups; group++) {
        const start = (group - row * groups) * wordsPerGroup;
        if (scales[group] === 0) chunk.fill(0x88888888, start, start + wordsPerGroup);
      }
      transposeNibbles({ chunk, height, words, firstWord, count, block, rows, row });
    }
    yield block;
  }
}

async function* dequantizedPieces(
  packed: TensorLocation,
  scale: TensorLocation,
  type: LoweredType,
  name: string,
  sources: Sources,
) {
  const [rows, words] = packed.shape as [number, number];
  const columns = words * 4;
  const groups = scale.shape[1]!;
  const step = Math.max(1, Math.floor(sources.chunkBytes / columns));
  for (let row = 0; row < rows; row += step) {
    const height = Math.min(step, rows - row);
    const bytes = new Uint8Array(await sources.bytes(packed, row * columns, height * columns));
    const scales = await sources.floats(scale, row * groups, height * groups);
    const values = new Float32Array(bytes.length);
    const group = columns / groups;
    for (let i = 0; i < values.length; i++) values[i] = (bytes[i]! - 128) * scales[Math.floor(i / group)]!;
    yield encode(values, type, name);
  }
}

function checkScales(scales: Float32Array, name: string): void {
  for (const scale of scales) {
    if (!(scale >= 0 && scale < Number.POSITIVE_INFINITY)) {
      throw new TypeError(`expected scales of ${name} as finite numbers from 0, got ${scale}`);
    }
  }
}

function encode(values: Float32Array, type: LoweredType, name: string): Uint8Array {
  if (type === 'float32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const [bitsOf, exponent] = type === 'float16' ? ([float16Bits, 0x7c00] as const) : ([bfloat16Bits, 0x7f80] as const);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    bits[i] = bitsOf(values[i]!);
    if ((bits[i]! & exponent) === exponent && Number.isFinite(values[i]!)) {
      throw new RangeError(`expected ${name} within the range of ${type}, got ${values[i]}`);
    }
  }
  return new Uint8Array(bits.buffer);
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** Open files of the checkpoint. */
class Sources {
  readonly blockBytes: number;
  readonly chunkBytes: number;
  readonly #signal: AbortSignal | undefined;
  readonly #handles = new Map<string, FileHandle>();

  constructor(signal: AbortSignal | undefined, blockBytes: number) {
    this.#signal = signal;
    this.blockBytes = blockBytes;
    this.chunkBytes = blockBytes / 16;
  }

  async bytes(tensor: TensorLocation, start: number, length: number): Promise<ArrayBuffer> {
    this.#signal?.throwIfAborted();
    const handle = this.#handles.get(tensor.file) ?? (await open(tensor.file, 'r'));
    this.#handles.set(tensor.file, handle);
    const buffer = new ArrayBuffer(length);
    for (let done = 0; done < length; ) {
      const position = tensor.offsetBytes + start + done;
      const { bytesRead } = await handle.read(new Uint8Array(buffer), done, length - done, position);
      if (bytesRead === 0)
        throw new RangeError(`expected bytes of weights at ${position} of ${tensor.file}, it was cut`);
      done += bytesRead;
    }
    return buffer;
  }

  /** Elements from `start` on as float32. */
  async floats(tensor: TensorLocation, start: number, count: number): Promise<Float32Array> {
    const { dtype } = tensor;
    if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
      throw new TypeError(`expected a weight as F32, F16 or BF16, got ${dtype}`);
    }
    const width = VALUE_BYTES[dtype];
    const buffer = await this.bytes(tensor, start * width, count * width);
    if (dtype === 'F32') return new Float32Array(buffer);
    const decode = dtype === 'F16' ? float16Value : bfloat16Value;
    const bits = new Uint16Array(buffer);
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = decode(bits[i]!);
    return values;
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.values()) await handle.close();
  }
}
