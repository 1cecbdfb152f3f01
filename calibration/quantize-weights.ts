/** The weights of a quantised folder, streamed: memory stays bounded whatever the size of the model. */
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { readTensorF32 } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { openMappedFile } from '#sdk/native/index.js';
import type { OutputFile, OutputTensor } from './quantize-plan.js';
import { bf16Bits, groupScales, quantizeRows } from './round-to-nearest.js';
import { SafetensorsWriter, tensorBytes } from './safetensors-writer.js';

/** Weights held in memory at a time: 4 M values, 16 MB as float32. */
const CHUNK_ELEMENTS = 4 << 20;
export interface QuantizeTally {
  readonly quantizedLinears: number;
  readonly sourceBytes: number;
  /** Root of Σ(w − ŵ)² / Σw² over all quantised weights. */
  readonly relativeError: number;
}

/** Writes every planned file into `directory`, a bounded piece at a time. */
export async function writeWeights(
  files: readonly OutputFile[],
  directory: string,
  groupSize: number,
  totalBytes: number,
  { signal, onProgress }: CallOptions & { readonly onProgress?: OnProgress | undefined },
): Promise<QuantizeTally> {
  const sum = { linears: 0, sourceBytes: 0, error: 0, square: 0, done: 0 };
  for (const file of files) {
    await using writer = await SafetensorsWriter.create(join(directory, file.name), file.tensors);
    for (const tensor of file.tensors) {
      if (tensor.part === 'packed') sum.linears += 1;
      if (tensor.part !== 'scale' && tensor.part !== 'shape') sum.sourceBytes += tensor.source.sizeBytes;
      for (const piece of pieces(tensor, groupSize)) {
        signal?.throwIfAborted();
        await writer.write(piece.bytes);
        if (tensor.part === 'packed') {
          sum.error += piece.squaredError;
          sum.square += piece.squaredSum;
        }
        sum.done += piece.bytes.byteLength;
        onProgress?.({ phase: 'quantize', done: sum.done, total: totalBytes, unit: 'bytes' });
        await nextTurn();
      }
    }
    await writer.finish();
  }
  return {
    quantizedLinears: sum.linears,
    sourceBytes: sum.sourceBytes,
    relativeError: sum.square === 0 ? 0 : Math.sqrt(sum.error / sum.square),
  };
}

interface Piece {
  readonly bytes: ArrayBufferView;
  readonly squaredError: number;
  readonly squaredSum: number;
}

/** The bytes of one output tensor, a bounded piece at a time. */
function* pieces(tensor: OutputTensor, groupSize: number): Generator<Piece> {
  const plain = (bytes: ArrayBufferView): Piece => ({ bytes, squaredError: 0, squaredSum: 0 });
  const { source, part } = tensor;
  if (part === 'shape') {
    yield plain(BigInt64Array.from(source.shape, BigInt));
    return;
  }
  if (part === 'copy') {
    const size = tensorBytes(tensor);
    for (let done = 0; done < size; done += CHUNK_ELEMENTS * 4) {
      const sizeBytes = Math.min(CHUNK_ELEMENTS * 4, size - done);
      using mapped = openMappedFile(source.file, { offsetBytes: source.offsetBytes + done, sizeBytes });
      yield plain(mapped.bytes);
    }
    return;
  }
  const rows = source.shape[0]!;
  const rowElements = source.shape.slice(1).reduce((product, side) => product * side, 1);
  const rowsAtOnce = Math.max(1, Math.floor(CHUNK_ELEMENTS / rowElements));
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const values = readTensorF32(source, { first, count: Math.min(rowsAtOnce, rows - first) });
    if (part === 'bf16') {
      yield plain(Uint16Array.from(values, bf16Bits));
      continue;
    }
    // Scales lie behind all packed words in the file: they are computed again rather than kept.
    if (part === 'scale') yield plain(groupScales(values, groupSize) ?? notFinite(tensor));
    else {
      const { packed, squaredError, squaredSum } = quantizeRows(values, groupSize) ?? notFinite(tensor);
      yield { bytes: packed, squaredError, squaredSum };
    }
  }
}

function notFinite({ name, source }: OutputTensor): never {
  const tensor = name.replace(/_(packed|scale)$/, '');
  throw new SdkError(
    'ERR_MODEL_INVALID',
    `${tensor} holds values that are not finite numbers: the source is damaged.`,
    {
      details: { tensor, file: source.file },
    },
  );
}
