/** The weights of a quantised folder, streamed: memory stays bounded whatever the size of the model. */
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { readTensorF32 } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { openMappedFile } from '#sdk/native/index.js';
import { type Adjustments, adjustedBytes } from './adjustments.js';
import { allFinite, allFinite16, damagedTensor } from './finite.js';
import type { OutputFile, OutputTensor } from './plan.js';
import { bf16Bits, groupScales, quantizeRows, quantizeRowsTo8Bits, searchedScales } from './round-to-nearest.js';
import { SafetensorsWriter, sizeBehind, tensorBytes } from './safetensors-writer.js';
import { f16Bits } from './sources/packed-linear.js';
import { type FloatType, rowElements, type SourceTensor } from './sources/source-tensor.js';

/** Weights held in memory at a time: 4 M values, 16 MB as float32. */
const CHUNK_ELEMENTS = 4 << 20;
export interface QuantizeTally {
  readonly quantizedLinears: number;
  readonly sourceBytes: number;
  /** Root of Σ(w − ŵ)² / Σw² over all quantised weights. */
  readonly relativeError: number;
}

/** How much may have to be written again after a kill. */
const JOURNAL_BYTES = 64 << 20;

export interface WriteWeightsOptions extends CallOptions {
  readonly groupSize: number;
  /** What calibration decided; empty: rounding to nearest. */
  readonly adjustments: Adjustments;
  /** Where the run notes how far it is. */
  readonly journalFile: string;
  readonly journalBytes?: number | undefined;
  /** For progress. Default `quantize`. */
  readonly phase?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const journalSchema = z.object({
  /** Files that are complete, and tensors of the next one. */
  files: z.int(),
  tensors: z.int(),
  sums: z.object({
    linears: z.number(),
    sourceBytes: z.number(),
    error: z.number(),
    square: z.number(),
    done: z.number(),
  }),
});
type Journal = z.infer<typeof journalSchema>;

/** Writes every planned file into `directory`, a bounded piece at a time; goes on where the journal ends. */
export async function writeWeights(
  files: readonly OutputFile[],
  directory: string,
  options: WriteWeightsOptions,
): Promise<QuantizeTally> {
  const { signal, onProgress, phase = 'quantize', journalFile, journalBytes = JOURNAL_BYTES } = options;
  const journal = await readJournal(journalFile, files, directory);
  const { sums } = journal;
  // Of the tensors alone: headers are written with them, and are a few thousandths.
  const total = files.flatMap(({ tensors }) => tensors).reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  const report = () => onProgress?.({ phase, done: sums.done, total, unit: 'bytes' });
  report(); // a run that goes on may have nothing left to write
  let journalled = sums.done;
  for (const [index, file] of files.entries()) {
    const kept = new KeptScales();
    if (index < journal.files) continue;
    const path = join(directory, file.name);
    const done = index === journal.files ? journal.tensors : 0;
    await using writer = await (done > 0
      ? SafetensorsWriter.resume(path, file.tensors, done)
      : SafetensorsWriter.create(path, file.tensors, { overwrite: true }));
    for (const [at, tensor] of file.tensors.entries()) {
      if (at < done) continue;
      for (const piece of pieces(tensor, options, kept)) {
        signal?.throwIfAborted();
        await writer.write(piece.bytes);
        sums.error += piece.squaredError;
        sums.square += piece.squaredSum;
        sums.done += piece.bytes.byteLength;
        report();
        await nextTurn();
      }
      if (tensor.part === 'packed' || tensor.part === 'exactPacked') sums.linears += 1;
      if (!/scale|shape/i.test(tensor.part)) sums.sourceBytes += tensor.source.sizeBytes;
      if (sums.done - journalled < journalBytes) continue;
      await writer.sync();
      await writeJournal(journalFile, { files: index, tensors: at + 1, sums });
      journalled = sums.done;
    }
    await writer.finish();
    await writeJournal(journalFile, { files: index + 1, tensors: 0, sums });
  }
  const relativeError = sums.square === 0 ? 0 : Math.sqrt(sums.error / sums.square);
  if (!Number.isFinite(relativeError)) {
    throw new SdkError(
      'ERR_MODEL_INVALID',
      `Expected weights whose error can be measured, but it came out as ${relativeError}: the source holds values that are too large.`,
    );
  }
  return { quantizedLinears: sums.linears, sourceBytes: sums.sourceBytes, relativeError };
}

/** Starts over unless all that it says is done lies there. */
async function readJournal(journalFile: string, files: readonly OutputFile[], directory: string): Promise<Journal> {
  try {
    const journal = journalSchema.parse(JSON.parse(await readFile(journalFile, 'utf8')));
    for (const [index, { name, tensors, sizeBytes }] of files.entries()) {
      if (index > journal.files || (index === journal.files && journal.tensors === 0)) break;
      const { size } = await stat(join(directory, name));
      const isWhole = index < journal.files ? size === sizeBytes : size >= sizeBehind(tensors, journal.tensors);
      if (!isWhole) return newJournal();
    }
    return journal;
  } catch {
    return newJournal();
  }
}

function newJournal(): Journal {
  return { files: 0, tensors: 0, sums: { linears: 0, sourceBytes: 0, error: 0, square: 0, done: 0 } };
}

async function writeJournal(file: string, journal: Journal): Promise<void> {
  await writeFile(`${file}.draft`, JSON.stringify(journal), { flush: true });
  await rename(`${file}.draft`, file);
}

interface Piece {
  readonly bytes: ArrayBufferView;
  readonly squaredError: number;
  readonly squaredSum: number;
}

/** The bytes of one output tensor, a bounded piece at a time. */
function* pieces(
  tensor: OutputTensor,
  { groupSize, adjustments }: WriteWeightsOptions,
  kept: KeptScales,
): Generator<Piece> {
  const plain = (bytes: ArrayBufferView): Piece => ({ bytes, squaredError: 0, squaredSum: 0 });
  const { source, part, bits } = tensor;
  if (part === 'shape') {
    yield plain(BigInt64Array.from(source.shape, BigInt));
    return;
  }
  if (part === 'copy') {
    const size = tensorBytes(tensor);
    for (let done = 0; done < size; done += CHUNK_ELEMENTS * 4) {
      const sizeBytes = Math.min(CHUNK_ELEMENTS * 4, size - done);
      const { file, offsetBytes } = source.location!;
      using mapped = openMappedFile(file, { offsetBytes: offsetBytes + done, sizeBytes });
      if (!allFinite16(mapped.bytes, tensor.dtype as 'BF16' | 'F16')) notFinite(tensor);
      yield plain(mapped.bytes);
    }
    return;
  }
  const decided = adjustments.get(decisionFor(tensor));
  if (decided !== undefined) {
    yield* decidedPieces(tensor, decided, adjustments);
    return;
  }
  if (part === 'exactScale') {
    const { scaleType, groupSize: stored } = source.int4!;
    const scales = repeated(source.int4!.scales(), stored / groupSize);
    if (!allFinite16(bytesOf(scales), scaleType)) notFinite(tensor);
    yield plain(scales);
    return;
  }
  const rows = source.shape[0]!;
  const rowsAtOnce = Math.max(1, Math.floor(CHUNK_ELEMENTS / rowElements(source)));
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - first);
    const known = part === 'scale' ? kept.take(source, first) : undefined;
    if (known !== undefined) {
      yield plain(known);
      continue;
    }
    if (part === 'exactPacked') {
      const sum = source.rows(first, count).reduce((total, weight) => total + weight * weight, 0);
      yield { bytes: source.int4!.packed(first, count), squaredError: 0, squaredSum: sum };
      continue;
    }
    const values = source.rows(first, count);
    if (part === 'float') {
      const written = inType(values, tensor.dtype as FloatType);
      if (
        !(written instanceof Uint16Array ? allFinite16(bytesOf(written), tensor.dtype as 'BF16') : allFinite(written))
      ) {
        notFinite(tensor);
      }
      yield plain(written);
      continue;
    }
    // Scales lie behind all packed words in the file: they are computed again, where that is cheap.
    const hints = bits === 4 ? stepsOf(source, groupSize, first, count) : undefined;
    const scales =
      hints === undefined ? groupScales(values, groupSize, bits) : searchedScales(values, groupSize, hints);
    if (part === 'scale') yield plain(scales ?? notFinite(tensor));
    else {
      const made = bits === 8 ? quantizeRowsTo8Bits(values, groupSize) : quantizeRows(values, groupSize, scales);
      const { packed, squaredError, squaredSum } = made ?? notFinite(tensor);
      if (hints !== undefined) kept.add(source, first, scales!);
      yield { bytes: packed, squaredError, squaredSum };
    }
  }
}

/** Scales that were searched for, until their place in the file comes; what is too much is searched for again. */
class KeptScales {
  static readonly #limitBytes = 128 << 20;
  readonly #byRow = new Map<SourceTensor, Map<number, Uint16Array>>();
  #sizeBytes = 0;

  add(source: SourceTensor, firstRow: number, scales: Uint16Array): void {
    if (this.#sizeBytes + scales.byteLength > KeptScales.#limitBytes) return;
    this.#sizeBytes += scales.byteLength;
    const rows = this.#byRow.get(source) ?? new Map<number, Uint16Array>();
    this.#byRow.set(source, rows.set(firstRow, scales));
  }

  take(source: SourceTensor, firstRow: number): Uint16Array | undefined {
    const rows = this.#byRow.get(source);
    const scales = rows?.get(firstRow);
    if (scales === undefined) return undefined;
    rows!.delete(firstRow);
    this.#sizeBytes -= scales.byteLength;
    return scales;
  }
}

/** The source's own steps for each group, where groups lie within those of the source. */
function stepsOf(source: SourceTensor, groupSize: number, first: number, count: number): Float32Array | undefined {
  const { packedGroup } = source;
  if (packedGroup === undefined || packedGroup % groupSize !== 0) return undefined;
  return source.packedScales && repeated(source.packedScales(first, count), packedGroup / groupSize);
}

/** Each value so many times in a row. */
function repeated<T extends Float32Array | Uint16Array>(values: T, times: number): T {
  if (times === 1) return values;
  const result = new (values.constructor as new (length: number) => T)(values.length * times);
  for (let i = 0; i < values.length; i += 1) result.fill(values[i]!, i * times, (i + 1) * times);
  return result;
}

function inType(values: Float32Array, dtype: FloatType): Float32Array | Uint16Array {
  return dtype === 'F32' ? values : Uint16Array.from(values, dtype === 'BF16' ? bf16Bits : f16Bits);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Under which name calibration keeps what becomes of a tensor. */
function decisionFor({ name, part }: OutputTensor): string {
  return part === 'folded' ? `${name}:folded` : name.replace(/_(packed|scale)$/, ':$1');
}

function* decidedPieces(tensor: OutputTensor, decided: TensorLocation, adjustments: Adjustments): Generator<Piece> {
  const rows = decided.shape[0]!;
  const rowsAtOnce = Math.max(1, Math.floor((CHUNK_ELEMENTS * rows) / decided.sizeBytes));
  const squares = adjustments.get(decisionFor(tensor).replace(/:packed$/, ':squares'));
  const [error, sum] = tensor.part === 'packed' ? readTensorF32(squares!) : [0, 0];
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const bytes = adjustedBytes(decided, first, Math.min(rowsAtOnce, rows - first));
    if (tensor.dtype === 'BF16' && !allFinite16(bytes, 'BF16')) notFinite(tensor);
    yield { bytes, squaredError: first === 0 ? error! : 0, squaredSum: first === 0 ? sum! : 0 };
  }
}

function notFinite({ name, source }: OutputTensor): never {
  throw damagedTensor(name.replace(/_(packed|scale)$/, ''), source.file);
}
