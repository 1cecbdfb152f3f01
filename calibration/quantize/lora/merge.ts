/** `scenebus merge-lora`: a base model and a LoRA adapter to a plain model folder. */
import { resolve } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import { DEFAULT_SHARD_BYTES, type FolderOptions, makeFolder } from '../make-folder.js';
import { MERGE_TYPES, type MergeType } from '../option-values.js';
import { floatTensor, planFiles } from '../plan.js';
import { openPlainSource } from '../sources/open-source.js';
import { openAdapter, withAdapter } from './adapter.js';
import { openUnmerged } from './unmerged.js';

export interface MergeLoraOptions extends FolderOptions {
  /** Folder of the base model, in bf16, f16 or f32. It is only read. */
  readonly base: string;
  /** Folder with adapter_config.json and adapter_model.safetensors; may be the base's own. */
  readonly adapter: string;
  /** What weights are written in. Default `same`: as the base has them. Sums are float32 in any case. */
  readonly dtype?: MergeType | undefined;
}

export interface MergeLoraResult {
  readonly directory: string;
  /** Weights that changed by a product of two. */
  readonly mergedLinears: number;
  /** Tensors that took the place of the base's (`modules_to_save`). */
  readonly replacedTensors: number;
  readonly sizeBytes: number;
}

/**
 * Writes `W + alpha/r · B·A` for every linear of the adapter, and all other tensors as the base has them.
 * @throws SdkError as `quantizeCheckpoint`, and ERR_MODEL_UNSUPPORTED for adapters that are no LoRA
 *
 * @example
 * await mergeLora({ base: 'models/base', adapter: 'runs/checkpoint-500', output: 'models/Llama-kitchen' });
 */
export async function mergeLora(options: MergeLoraOptions): Promise<MergeLoraResult> {
  const { signal, base, dtype = 'same', shardBytes = DEFAULT_SHARD_BYTES } = options;
  signal?.throwIfAborted();
  if (!(MERGE_TYPES as readonly string[]).includes(dtype)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected the type ${MERGE_TYPES.join(', ')}, but received ${dtype}.`);
  }
  const counts = { mergedLinears: 0, replacedTensors: 0 };
  const { sizeBytes } = await makeFolder(base, options, async () => {
    const isUnmerged = resolve(base) === resolve(options.adapter);
    const unmerged = isUnmerged ? await openUnmerged(base, { signal }) : null;
    const plain = unmerged?.source ?? (await openPlainSource(base, { signal }));
    const adapter = unmerged?.adapter ?? (await openAdapter(options.adapter, plain.architecture));
    counts.mergedLinears = adapter.deltas.size;
    counts.replacedTensors = adapter.replaced.size;
    const source = withAdapter(plain, adapter);
    const tensors = [...source.tensors].map(([name, tensor]) =>
      floatTensor(name, tensor, dtype === 'same' ? tensor.dtype : dtype === 'f32' ? 'F32' : 'BF16'),
    );
    return {
      source,
      alsoRead: [options.adapter],
      files: planFiles(tensors, shardBytes),
      groupSize: 1,
      phase: 'merge',
      calibrationBytes: 0,
      key: async () => ['merge-lora', dtype, adapter.contentHash],
      config: (config) => {
        if (dtype === 'same') return config;
        const name = dtype === 'f32' ? 'float32' : 'bfloat16';
        for (const part of [config, config.text_config, config.vision_config] as (
          | Record<string, unknown>
          | undefined
        )[]) {
          for (const key of ['torch_dtype', 'dtype']) if (typeof part?.[key] === 'string') part[key] = name;
        }
        return config;
      },
    };
  });
  return { directory: resolve(options.output), ...counts, sizeBytes };
}
