import { readFile, stat } from 'node:fs/promises';
import { SdkError } from '../core/errors.js';

/**
 * A whole UTF-8 file of bounded size; undefined when there is none.
 * @throws SdkError ERR_LIMIT_EXCEEDED before reading a file larger than `maxBytes`, ERR_TOKENIZER_INVALID for what
 * is not a readable file.
 */
export async function readTextFile(path: string, maxBytes: number): Promise<string | undefined> {
  let sizeBytes: number;
  try {
    const facts = await stat(path);
    if (!facts.isFile()) throw new SdkError('ERR_TOKENIZER_INVALID', `Expected a file at ${path} but it is not one.`);
    sizeBytes = facts.size;
  } catch (error) {
    if (error instanceof SdkError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new SdkError('ERR_TOKENIZER_INVALID', `Cannot read ${path}: ${message}.`, { cause: error });
  }
  if (sizeBytes > maxBytes) {
    throw new SdkError(
      'ERR_LIMIT_EXCEEDED',
      `Expected ${path} to hold at most ${maxBytes} bytes but it holds ${sizeBytes}.`,
      {
        details: { path, maxBytes, sizeBytes },
      },
    );
  }
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new SdkError('ERR_TOKENIZER_INVALID', `Cannot read ${path}: ${(error as Error).message}.`, { cause: error });
  }
}

/** Parses `text` as a JSON object. @throws SdkError ERR_TOKENIZER_INVALID naming the file. */
export function parseJsonObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SdkError(
      'ERR_TOKENIZER_INVALID',
      `Expected JSON in ${path} but it does not parse: ${(error as Error).message}. Copy the file from the checkpoint again.`,
      { cause: error },
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new SdkError('ERR_TOKENIZER_INVALID', `Expected a JSON object in ${path} but received ${describe(value)}.`);
  }
  return value as Record<string, unknown>;
}

function describe(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}
