import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { type CallOptions, type Checkpoint, type Logger, type OnProgress, openCheckpoint } from 'scenebus';
import { llamaLicenseEvidence, QUANTIZE_GROUP_SIZES, quantizeCheckpoint } from '#calibration/quantize/index.js';

export interface Int4Options extends CallOptions {
  /** Default: `$XDG_CACHE_HOME/scenebus`, `~/.cache/scenebus`. */
  readonly cacheDirectory?: string | undefined;
  /** The owner of the device accepts the Llama Community License; needed for models under it only. */
  readonly acceptLlamaLicense?: boolean | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly logger?: Logger | undefined;
}

/** Where prepared files go when nothing else is said (XDG Base Directory Specification). */
export function defaultCacheDirectory(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'scenebus');
}

/**
 * The int4 form of a model folder: the folder itself when it is int4 already, else a folder in the cache, made on the
 * first call. Its name changes with the source's contents, so a retrained model is quantised again.
 * @throws SdkError ERR_LICENSE_NOT_ACCEPTED for a model under the Llama licence that nobody has accepted
 */
export async function int4Folder(directory: string, options: Int4Options = {}): Promise<string> {
  const checkpoint = await openCheckpoint(directory, { signal: options.signal });
  if (checkpoint.model.int4 !== null) return checkpoint.directory;
  const groupSize = int4GroupSize(checkpoint);
  const cache = options.cacheDirectory ?? defaultCacheDirectory();
  const hash = await folderHash(checkpoint);
  // The folder's name is the model's name on the bus. The licence wants "Llama" first in it.
  const name = basename(checkpoint.name);
  const isLlama = (await llamaLicenseEvidence(checkpoint.directory, checkpoint.name)) !== null;
  const output = join(
    cache,
    'int4',
    `${hash}-g${groupSize}`,
    isLlama && !name.startsWith('Llama') ? `Llama-${name}` : name,
  );
  // The quantiser renames a complete folder into place: what is there is whole.
  if (existsSync(output)) return output;
  options.logger?.log('info', `quantising ${directory} to int4 into ${output}`);
  const { acceptLlamaLicense, signal, onProgress, logger } = options;
  await quantizeCheckpoint({ source: directory, output, groupSize, acceptLlamaLicense, signal, onProgress, logger });
  return output;
}

/** Changes with the weights and with every file beside them that the int4 folder carries along (tokenizer, prompts …). */
async function folderHash(checkpoint: Checkpoint): Promise<string> {
  const hash = createHash('sha256').update(await checkpoint.contentHash());
  for (const name of (await readdir(checkpoint.directory)).sort()) {
    const status = await stat(join(checkpoint.directory, name)).catch(() => undefined);
    if (status === undefined) continue; // a link to nothing
    const { size, mtimeMs } = status;
    hash.update(`\n${name} ${size} ${mtimeMs}`);
  }
  return hash.digest('hex').slice(0, 16);
}

/** The largest group that divides the inputs of every linear: fewer scales to read for each token. */
function int4GroupSize({ model }: Pick<Checkpoint, 'model'>): (typeof QUANTIZE_GROUP_SIZES)[number] {
  const { hiddenSize, intermediateSize, attentionHeads, headDim } = model.architecture.text;
  const inputs = [hiddenSize, intermediateSize, attentionHeads * headDim];
  const fitting = QUANTIZE_GROUP_SIZES.filter((size) => inputs.every((count) => count % size === 0));
  // Where none fits, the quantiser says which inputs are in the way.
  return fitting.at(-1) ?? 32;
}
