/** LoRA adapters as PEFT saves them: `adapter_config.json` and `adapter_model.safetensors`, alone or beside a model. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { readJsonFile } from './json-file.js';

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';

const pattern = z.record(z.string(), z.number().positive()).nullish();

const adapterConfigSchema = z.looseObject({
  peft_type: z.string().default('LORA'),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().min(1).max(65_536).default(8),
  lora_alpha: z.number().default(8),
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  fan_in_fan_out: z.boolean().nullish(),
  bias: z.string().nullish(),
  rank_pattern: pattern,
  alpha_pattern: pattern,
  modules_to_save: z.array(z.string()).nullish(),
});

export type AdapterConfig = z.output<typeof adapterConfigSchema>;

export interface FoundAdapter {
  readonly config: AdapterConfig;
  /** Whether its weights are there too. */
  readonly hasWeights: boolean;
}

/** The adapter of a folder; null when it has none. */
export async function findAdapter(directory: string): Promise<FoundAdapter | null> {
  const config = await readJsonFile(directory, ADAPTER_CONFIG, adapterConfigSchema);
  if (config === undefined) return null;
  const weights = await stat(join(directory, ADAPTER_WEIGHTS)).catch(() => null);
  return { config, hasWeights: weights !== null };
}

/** For people: `a LoRA adapter (rank 16) for meta-llama/Llama-3.2-11B-Vision-Instruct`. */
function adapterTitle({ config }: FoundAdapter): string {
  const kind =
    config.peft_type === 'LORA' ? `a LoRA adapter (rank ${config.r})` : `a PEFT adapter (${config.peft_type})`;
  return config.base_model_name_or_path ? `${kind} for ${config.base_model_name_or_path}` : kind;
}

/** A folder that holds an adapter and no model. */
export function adapterAlone(directory: string, adapter: FoundAdapter): SdkError {
  return new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `${directory} holds ${adapterTitle(adapter)}, and no model: merge it into its base with \`scenebus merge-lora BASE ${directory} OUTPUT\` (or \`scenebus quantize BASE OUTPUT --lora ${directory}\`).`,
    { details: { directory, base: adapter.config.base_model_name_or_path ?? undefined } },
  );
}

/** Beside full weights nobody knows whether it is in them already. */
export function adapterBeside(directory: string, adapter: FoundAdapter): string {
  return (
    `${ADAPTER_CONFIG} beside the weights is not applied: it describes ${adapterTitle(adapter)}. ` +
    `Remove it when it is merged already; otherwise merge it with \`scenebus merge-lora ${directory} ${directory} OUTPUT\``
  );
}

const UNMERGED = /\.(base_layer|lora_A|lora_B|lora_embedding_[AB]|lora_magnitude_vector|modules_to_save)\./;

/** Weights that were saved with PEFT's wrappers around them. */
export function unmergedProblem(names: Iterable<string>): string | null {
  let count = 0;
  let example = '';
  for (const name of names) {
    if (!UNMERGED.test(name)) continue;
    count += 1;
    example ||= name;
  }
  if (count === 0) return null;
  return `${count} tensors are those of an unmerged PEFT adapter (${example}): merge with \`scenebus merge-lora\` (the folder as BASE and as ADAPTER), or save the result of PEFT's merge_and_unload()`;
}
