/**
 * A hash over a little of the weights themselves: headers, sizes and times of change can be equal where weights are not
 * (a copy that keeps times, images built for one fixed date).
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { SdkError } from '../core/errors.js';
import type { SafetensorsEntry, SafetensorsFile } from './safetensors.js';

/** Half a second of reading on slow flash; the linears of the 11B model are about 500 tensors. */
const MAX_SAMPLES = 512;
const SAMPLE_BYTES = 4096;

/**
 * Looks at the middle of every tensor; of checkpoints with very many, of the largest 512. Training that touches none of
 * those bytes is not seen.
 *
 * @throws SdkError ERR_MODEL_NOT_FOUND a file that was there before cannot be read any more
 */
export async function samplePayload(files: readonly SafetensorsFile[]): Promise<string> {
  const hash = createHash('sha256');
  const chosen = new Set(
    files
      .flatMap(({ entries }) => entries)
      .sort((a, b) => b.sizeBytes - a.sizeBytes || (a.name < b.name ? -1 : 1))
      .slice(0, MAX_SAMPLES),
  );
  for (const file of files) {
    // In the order of the file, whatever the order of its header.
    const entries = file.entries.filter((entry) => chosen.has(entry)).sort((a, b) => a.offsetBytes - b.offsetBytes);
    for (const sample of await readSamples(file.path, entries)) hash.update(sample);
  }
  return hash.digest('hex');
}

async function readSamples(path: string, entries: readonly SafetensorsEntry[]): Promise<Buffer[]> {
  try {
    const file = await open(path, 'r');
    try {
      return await Promise.all(
        entries.map(async ({ offsetBytes, sizeBytes }) => {
          const length = Math.min(SAMPLE_BYTES, sizeBytes);
          const position = offsetBytes + Math.floor((sizeBytes - length) / 2);
          const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
          return buffer.subarray(0, bytesRead);
        }),
      );
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new SdkError('ERR_MODEL_NOT_FOUND', `${path} can no longer be read.`, {
      cause,
      details: { file: path },
    });
  }
}
