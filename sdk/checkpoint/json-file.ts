import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

/**
 * Reads one JSON file of a model folder through its schema. `undefined` when the file does not exist.
 * @throws SdkError ERR_MODEL_INVALID naming the file and every field that is wrong.
 */
export async function readJsonFile<S extends z.ZodType>(
  directory: string,
  name: string,
  schema: S,
): Promise<z.output<S> | undefined> {
  const path = join(directory, name);
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > LIMITS.configFileBytes) {
      throw new SdkError(
        'ERR_MODEL_INVALID',
        `${path} has ${size} bytes; at most ${LIMITS.configFileBytes} are read.`,
        {
          details: { path, sizeBytes: size, limitBytes: LIMITS.configFileBytes },
        },
      );
    }
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (cause instanceof SdkError) throw cause;
    throw new SdkError('ERR_MODEL_INVALID', `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new SdkError('ERR_MODEL_INVALID', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new SdkError('ERR_MODEL_INVALID', `${path} is not as expected:\n${z.prettifyError(result.error)}`, {
    details: {
      path,
      problems: result.error.issues.map((issue) => `${name}: ${issue.path.join('.') || '(whole)'}: ${issue.message}`),
    },
  });
}
