/** A Hugging Face Mllama folder, checked whole before anything is computed with it. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import type { ModelDescription } from '../architecture/architecture.js';
import { isSdkError, SdkError } from '../core/errors.js';
import type { ImageProcessorConfig } from '../core/image.js';
import type { CallOptions } from '../core/types.js';
import { adapterAlone, adapterBeside, findAdapter, unmergedProblem } from './adapter.js';
import { architectureOf, configSchema, type MllamaConfig } from './config.js';
import { foreignFormatError, foreignFormatOf, statedQuantization } from './foreign-format.js';
import { type GenerationDefaults, readGenerationDefaults } from './generation-config.js';
import { readJsonFile } from './json-file.js';
import { type ModelManifest, readManifest } from './manifest.js';
import { checkPackedContents } from './packed-contents.js';
import { samplePayload } from './payload-sample.js';
import { readProcessorConfig } from './processor-config.js';
import { quantizationOf } from './quantization.js';
import type { SafetensorsFile } from './safetensors.js';
import { readWeights } from './shards.js';
import { resolveTensors } from './tensors.js';

export interface Checkpoint {
  /** Absolute. */
  readonly directory: string;
  /** From scenebus.json, else the hub name in config.json or of the hub's cache, else the folder's name. */
  readonly name: string;
  readonly model: ModelDescription;
  readonly processor: ImageProcessorConfig;
  readonly generation: GenerationDefaults;
  readonly manifest: ModelManifest;
  /** What was read in the folder and is not honoured, or is probably not meant; sentences for people. */
  readonly warnings: readonly string[];
  /**
   * Key of prepared caches, hexadecimal SHA-256 over config, headers, sizes, times of change and a few bytes of each
   * tensor: it changes when the weights do, without reading 20 GB.
   */
  contentHash(): Promise<string>;
  /**
   * Names the model, hexadecimal SHA-256 of the same without the times: equal wherever the same files lie, so that a
   * fleet and a table can be compared by it.
   */
  identity(): Promise<string>;
}

/**
 * Opens a checkpoint folder: single file or shards; bf16, f16, f32 or int4 (compressed-tensors); both generations of
 * tensor names. Checks the presence, type and shape of every tensor and reports all that is wrong at once.
 *
 * @throws SdkError ERR_MODEL_NOT_FOUND no such folder, no config.json or no weights
 * @throws SdkError ERR_MODEL_INVALID with `details.problems: string[]`
 * @throws SdkError ERR_MODEL_UNSUPPORTED another architecture or quantisation scheme
 *
 * @example
 * const checkpoint = await openCheckpoint('models/Llama-3.2-11B-Vision-Instruct');
 * console.log(checkpoint.name, checkpoint.model.int4 === null ? 'float' : 'int4');
 */
export async function openCheckpoint(directory: string, options: CallOptions = {}): Promise<Checkpoint> {
  options.signal?.throwIfAborted();
  const root = resolve(directory);
  const config = await readConfig(root, directory);
  const problems: string[] = [];
  const warnings: string[] = [];
  const collect = <T extends { problems: readonly string[]; warnings?: readonly string[] }>(part: T): T => {
    problems.push(...part.problems);
    warnings.push(...(part.warnings ?? []));
    return part;
  };

  const { architecture } = collect(architectureOf(config));
  const { processor } = collect(await readProcessorConfig(root, architecture.vision));
  const { generation } = collect(await readGenerationDefaults(root, config));
  const manifest = await readManifest(root);
  const weights = await readWeights(root).catch(async (error: unknown) => {
    const adapter = isSdkError(error, 'ERR_MODEL_NOT_FOUND') ? await findAdapter(root) : null;
    throw adapter === null ? error : adapterAlone(root, adapter);
  });
  const foreign = foreignFormatOf(config, weights.tensors.keys());
  if (foreign !== null) throw foreignFormatError(root, foreign);
  const unmerged = unmergedProblem(weights.tensors.keys());
  if (unmerged !== null)
    throw new SdkError('ERR_MODEL_UNSUPPORTED', `${root}: ${unmerged}.`, { details: { directory: root } });
  collect(weights);
  const quantization = quantizationOf(statedQuantization(config));
  const adapter = await findAdapter(root);
  if (adapter !== null) warnings.push(adapterBeside(root, adapter));
  options.signal?.throwIfAborted();
  const { tensors } = collect(resolveTensors(weights, architecture, quantization, tiedHead(config)));
  // What scales hold is looked at only when every place is known to be right.
  if (problems.length === 0) problems.push(...(await checkPackedContents(tensors, architecture, options.signal)));
  if (problems.length > 0 || processor === null) throw invalid(root, problems);

  let contentHash: Promise<string> | undefined;
  let identity: Promise<string> | undefined;
  return {
    directory: root,
    name: nameOf(root, config, manifest),
    model: { architecture, tensors, int4: quantization?.int4 ?? null },
    processor,
    generation,
    manifest,
    warnings,
    contentHash: () => {
      contentHash ??= hashOf(config, weights.files);
      return contentHash;
    },
    identity: () => {
      identity ??= hashOf(config, weights.files, { withTimes: false });
      return identity;
    },
  };
}

export async function readConfig(directory: string, given = directory): Promise<MllamaConfig> {
  const folder = await stat(directory).catch(() => null);
  if (folder === null || !folder.isDirectory()) throw notAFolder(given, directory, folder !== null);
  const config = await readJsonFile(directory, 'config.json', configSchema);
  if (config !== undefined) return config;
  const adapter = await findAdapter(directory);
  if (adapter !== null) throw adapterAlone(directory, adapter);
  throw new SdkError(
    'ERR_MODEL_NOT_FOUND',
    `Expected config.json in ${directory}: give the folder of a Hugging Face checkpoint.`,
    { details: { directory } },
  );
}

/** From scenebus.json, else the hub name in config.json or of the hub's cache, else the folder's name. */
export function nameOf(root: string, config: MllamaConfig, manifest: ModelManifest): string {
  return manifest.name ?? hubName(config._name_or_path) ?? hubCacheName(root) ?? basename(root);
}

/** The text part's word counts; the whole model's is true in configs that nobody meant to tie. */
export function tiedHead({ text_config: text, tie_word_embeddings: model }: MllamaConfig) {
  return { allowed: text.tie_word_embeddings ?? model ?? false, stated: text.tie_word_embeddings === true };
}

const HUB_NAME = /^(?:https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/|hf:\/\/)?([\w.-]+\/[\w.-]+)\/?$/;

/** @param given as the caller wrote it: perhaps the name of a model on a hub, which nothing here fetches */
function notAFolder(given: string, directory: string, isFile: boolean): SdkError {
  const hub = isFile || /^\.{0,2}\//.test(given) ? undefined : HUB_NAME.exec(given)?.[1];
  const hint =
    hub !== undefined
      ? ` "${given}" looks like the name of a model on the Hugging Face hub, from where nothing is loaded by name. Download it (\`hf download ${hub} --local-dir models/${basename(hub)}\`) and give the folder.`
      : /\.gguf$/i.test(given)
        ? ' GGUF files are not read: give the folder of the Hugging Face checkpoint.'
        : isFile
          ? ' It is a file: give the folder that holds config.json and the weights.'
          : '';
  return new SdkError(
    'ERR_MODEL_NOT_FOUND',
    `Expected a checkpoint folder at ${directory}, but there is none.${hint}`,
    {
      details: { directory, ...(hub === undefined ? {} : { hubName: hub }) },
    },
  );
}

/** `org/name`; a path on somebody's machine is no name. */
function hubName(name: string | undefined): string | undefined {
  return name !== undefined && /^[\w.-]+\/[\w.-]+$/.test(name) && !name.startsWith('.') ? basename(name) : undefined;
}

/** `…/models--org--name/snapshots/<commit>`, as hub clients lay out their cache. */
function hubCacheName(directory: string): string | undefined {
  return /\/models--[^/]+--([^/]+)\/snapshots\/[0-9a-f]{40}$/.exec(directory)?.[1];
}

/** Changes with the configuration and with the weights; as a key of caches also with the times of their files. */
export async function hashOf(
  config: MllamaConfig,
  files: readonly SafetensorsFile[],
  { withTimes = true }: { readonly withTimes?: boolean } = {},
): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(config));
  for (const file of files) {
    const time = withTimes ? [file.modifiedMs] : [];
    hash.update(JSON.stringify([basename(file.path), file.sizeBytes, ...time, file.headerHash]));
  }
  return hash.update(await samplePayload(files)).digest('hex');
}

function invalid(directory: string, problems: readonly string[]): SdkError {
  const shown = problems.slice(0, 20).map((problem) => `  - ${problem}`);
  const more = problems.length > 20 ? [`  … and ${problems.length - 20} more (details.problems has all)`] : [];
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
  return new SdkError(
    'ERR_MODEL_INVALID',
    [`${directory} is not a sound Mllama checkpoint; ${count}:`, ...shown, ...more].join('\n'),
    { details: { directory, problems } },
  );
}
