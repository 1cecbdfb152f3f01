/**
 * The safetensors container: 8 bytes little-endian header length, a JSON header, then the data. Every rule of the
 * format is checked before an offset is believed, because engines map the file and would read wherever it points.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
};

/** A tensor as the header states it. `dtype` is the file's word; whether it is usable is decided by the reader. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Absolute offset in the file. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface SafetensorsFile {
  /** Absolute path with symbolic links resolved (hub caches are made of links). */
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly entries: readonly SafetensorsEntry[];
  readonly metadata: Readonly<Record<string, string>>;
  /** SHA-256 of the header bytes, hexadecimal. */
  readonly headerHash: string;
}

/** What a file that is no safetensors file probably is. */
function guessFormat(start: Buffer): string {
  const text = start.toString('latin1');
  if (text.startsWith('version https://git-lfs')) return 'a Git LFS pointer: fetch the real file with `git lfs pull`';
  if (text.startsWith('PK')) return 'a zip archive, as PyTorch checkpoints are: convert it to safetensors';
  if (text.startsWith('GGUF')) return 'a GGUF file: use the Hugging Face checkpoint instead';
  if (/^\s*</.test(text)) return 'a web page, probably a failed download';
  return 'not a safetensors file, or one that was cut or overwritten';
}

/**
 * Reads and checks a header.
 * @throws SdkError ERR_MODEL_INVALID with `details.problems`; ERR_MODEL_NOT_FOUND when the file cannot be opened.
 */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsFile> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (cause) {
    throw new SdkError('ERR_MODEL_NOT_FOUND', `Expected a safetensors file at ${file}, but it cannot be opened.`, {
      cause,
      details: { file },
    });
  }
  try {
    const status = await handle.stat();
    if (!status.isFile()) throw invalid(file, ['it is not a regular file']);
    const start = Buffer.alloc(Math.min(64, status.size));
    await handle.read(start, 0, start.length, 0);
    if (status.size < 8) throw invalid(file, [`it has only ${status.size} bytes: ${guessFormat(start)}`]);
    const headerBytes = start.readBigUInt64LE(0);
    // Most other formats show as an absurd length, so the guess comes with it.
    if (headerBytes > BigInt(status.size - 8)) {
      const looksRight = start.length > 8 && start[8] === 0x7b;
      const reason = looksRight ? 'the file was cut short' : guessFormat(start);
      throw invalid(file, [`its header claims ${headerBytes} bytes, but the file has ${status.size}: ${reason}`]);
    }
    if (headerBytes > BigInt(LIMITS.safetensorsHeaderBytes)) {
      throw invalid(file, [`its header of ${headerBytes} bytes exceeds the limit of ${LIMITS.safetensorsHeaderBytes}`]);
    }
    const header = Buffer.alloc(Number(headerBytes));
    const { bytesRead } = await handle.read(header, 0, header.length, 8);
    if (bytesRead !== header.length) throw invalid(file, ['its header could not be read whole']);
    const dataStart = 8 + header.length;
    const { entries, metadata, problems } = parseHeader(header, dataStart, status.size);
    if (problems.length > 0) throw invalid(file, problems);
    return {
      path: await realpath(file),
      sizeBytes: status.size,
      modifiedMs: status.mtimeMs,
      entries,
      metadata,
      headerHash: createHash('sha256').update(header).digest('hex'),
    };
  } finally {
    await handle.close();
  }
}

function invalid(file: string, problems: readonly string[]): SdkError {
  const shown = problems.slice(0, 10).join('; ');
  const more = problems.length > 10 ? `; and ${problems.length - 10} more` : '';
  return new SdkError('ERR_MODEL_INVALID', `${file} is not a sound safetensors file: ${shown}${more}.`, {
    details: { file, problems },
  });
}

interface ParsedHeader {
  entries: SafetensorsEntry[];
  metadata: Record<string, string>;
  problems: string[];
}

function parseHeader(header: Buffer, dataStart: number, fileSize: number): ParsedHeader {
  const result: ParsedHeader = { entries: [], metadata: {}, problems: [] };
  let parsed: unknown;
  const text = header.toString('utf8');
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    result.problems.push(`its header is not JSON (${(error as Error).message})`);
    return result;
  }
  if (!isRecord(parsed)) {
    result.problems.push('its header is not a JSON object');
    return result;
  }
  for (const name of duplicateKeys(text)) result.problems.push(`tensor ${name} is stated twice`);
  const dataBytes = fileSize - dataStart;
  for (const [name, value] of Object.entries(parsed)) {
    if (name === '__metadata__') {
      if (isRecord(value)) {
        // Not one after the other: "__proto__" would be no key then.
        const texts = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
        result.metadata = Object.fromEntries(texts);
      }
      continue;
    }
    const problem = checkEntry(value, dataBytes);
    if (typeof problem === 'string') result.problems.push(`tensor ${name} ${problem}`);
    else result.entries.push({ name, ...problem, offsetBytes: dataStart + problem.offsetBytes });
  }
  checkLayout(result, dataStart, fileSize);
  return result;
}

function checkEntry(value: unknown, dataBytes: number): Omit<SafetensorsEntry, 'name'> | string {
  if (!isRecord(value)) return 'has no description';
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string') return 'has no dtype';
  if (!Array.isArray(shape) || shape.length > 16 || !shape.every(isSize)) return 'has no valid shape';
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) return 'has no valid data_offsets';
  const [begin, end] = offsets as [number, number];
  if (begin > end) return `has offsets [${begin}, ${end}] that run backwards`;
  if (end > dataBytes) {
    return `ends at byte ${end} of the data, but the file holds ${dataBytes}: the file was cut short or is wrong`;
  }
  const bits = DTYPE_BITS[dtype];
  // An unknown dtype is left to whoever needs the tensor: newer files may carry extras that nobody reads.
  if (bits !== undefined) {
    const expected = shape.reduce((product: bigint, side: number) => product * BigInt(side), BigInt(bits)) / 8n;
    if (expected !== BigInt(end - begin)) {
      return `of ${dtype} [${shape.join(', ')}] needs ${expected} bytes, but its offsets span ${end - begin}`;
    }
  }
  return { dtype, shape: shape as number[], offsetBytes: begin, sizeBytes: end - begin };
}

/** Tensors must follow each other without gap or overlap and fill the file, as the format says. */
function checkLayout(header: ParsedHeader, dataStart: number, fileSize: number): void {
  if (header.problems.length > 0) return;
  let end = dataStart;
  let previous = 'the header';
  for (const entry of [...header.entries].sort((a, b) => a.offsetBytes - b.offsetBytes || a.sizeBytes - b.sizeBytes)) {
    if (entry.offsetBytes < end) header.problems.push(`tensor ${entry.name} overlaps ${previous}`);
    else if (entry.offsetBytes > end) {
      header.problems.push(`${entry.offsetBytes - end} bytes before tensor ${entry.name} belong to no tensor`);
    }
    end = Math.max(end, entry.offsetBytes + entry.sizeBytes);
    previous = `tensor ${entry.name}`;
  }
  if (header.problems.length === 0 && end !== fileSize) {
    header.problems.push(`${fileSize - end} bytes after the last tensor belong to no tensor`);
  }
}

/** Keys that occur more than once at the top level: JSON.parse would keep the last without a word. */
function duplicateKeys(json: string): string[] {
  const seen = new Set<string>();
  const duplicates = new Set<string>();
  let depth = 0;
  // Strings are skipped whole, so braces and colons inside names do not count. `json` is known to be valid.
  for (const match of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    const token = match[0];
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && match[1] !== undefined) {
      const key = JSON.parse(token.slice(0, token.length - match[1].length)) as string;
      if (seen.has(key)) duplicates.add(key);
      seen.add(key);
    }
  }
  return [...duplicates];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
