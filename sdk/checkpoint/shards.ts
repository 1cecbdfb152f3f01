/** Finds the safetensors files of a model folder: one file, or shards with an index. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { readJsonFile } from './json-file.js';
import { readSafetensorsHeader, type SafetensorsEntry, type SafetensorsFile } from './safetensors.js';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

export interface Weights {
  readonly files: readonly SafetensorsFile[];
  /** Names as the files state them. */
  readonly tensors: ReadonlyMap<string, { readonly file: SafetensorsFile; readonly entry: SafetensorsEntry }>;
  /** Everything wrong with index and shards; the rest is usable for further checks. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** @throws SdkError ERR_MODEL_NOT_FOUND when the folder holds no safetensors weights. */
export async function readWeights(directory: string): Promise<Weights> {
  const names = await readdir(directory);
  const problems: string[] = [];
  const warnings: string[] = [];
  const files: SafetensorsFile[] = [];
  const tensors = new Map<string, { file: SafetensorsFile; entry: SafetensorsEntry }>();
  const weightMap = names.includes(SINGLE) ? null : await readIndex(directory, names);
  if (weightMap === null && names.includes(INDEX)) {
    warnings.push(
      `${SINGLE} is read, as transformers does; ${INDEX} and its shards beside it are not: remove one of them`,
    );
  }

  const shards = weightMap === null ? [SINGLE] : [...new Set(weightMap.values())].sort();
  for (const shard of shards) {
    if (/[/\\]/.test(shard) || shard === '..') {
      problems.push(`${INDEX}: shard name "${shard}" must be a file of this folder`);
      continue;
    }
    let file: SafetensorsFile;
    try {
      file = await readSafetensorsHeader(join(directory, shard));
    } catch (error) {
      if (!(error instanceof SdkError)) throw error;
      problems.push(error.code === 'ERR_MODEL_NOT_FOUND' ? `shard ${shard} is missing` : error.message);
      continue;
    }
    files.push(file);
    for (const entry of file.entries) {
      const other = tensors.get(entry.name);
      if (other !== undefined) problems.push(`tensor ${entry.name} is in ${shard} and again in ${other.file.path}`);
      else tensors.set(entry.name, { file, entry });
    }
  }
  if (weightMap !== null) {
    const opened = new Set(files.map((file) => file.path));
    for (const [name, shard] of weightMap) {
      if (!tensors.has(name) && opened.size === shards.length) {
        problems.push(`${INDEX}: tensor ${name} is not in ${shard} as stated`);
      }
    }
  }
  return { files, tensors, problems, warnings };
}

async function readIndex(directory: string, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const index = await readJsonFile(directory, INDEX, indexSchema);
  if (index !== undefined) {
    const map = new Map(Object.entries(index.weight_map));
    if (map.size > 0) return map;
    throw new SdkError('ERR_MODEL_INVALID', `${join(directory, INDEX)} lists no tensors.`, { details: { directory } });
  }
  const others = names.filter((name) => /\.(safetensors|bin|pth|pt|gguf)$/.test(name));
  const hint = others.some((name) => name.endsWith('.safetensors'))
    ? `It has ${others.join(', ')}, but shards need their ${INDEX}: copy it from the source.`
    : others.length > 0
      ? `It has ${others.join(', ')}: convert the checkpoint to safetensors.`
      : 'Copy the whole Hugging Face checkpoint folder.';
  throw new SdkError('ERR_MODEL_NOT_FOUND', `Expected ${SINGLE} or ${INDEX} in ${directory}. ${hint}`, {
    details: { directory, found: others },
  });
}
