import { z } from 'zod';
import type { MllamaConfig } from './config.js';
import { readJsonFile } from './json-file.js';

/** How the model's authors want it to generate. */
export interface GenerationDefaults {
  readonly bosTokenId: number;
  readonly padTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topP: number;
}

const tokenId = z.int().min(0);

const generationSchema = z.looseObject({
  bos_token_id: tokenId.nullish(),
  pad_token_id: z.int().nullish(),
  eos_token_id: z.union([tokenId.transform((id) => [id]), z.array(tokenId)]).nullish(),
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
});

/** `generation_config.json`; what it lacks comes from `config.json`. */
export async function readGenerationDefaults(
  directory: string,
  config: MllamaConfig,
): Promise<{ generation: GenerationDefaults; problems: string[] }> {
  const file = (await readJsonFile(directory, 'generation_config.json', generationSchema)) ?? {};
  const text = config.text_config;
  const eosTokenIds = file.eos_token_id ?? text.eos_token_id ?? config.eos_token_id ?? [];
  const bosTokenId = file.bos_token_id ?? text.bos_token_id ?? config.bos_token_id;
  const padTokenId = file.pad_token_id ?? text.pad_token_id ?? config.pad_token_id ?? null;
  const problems: string[] = [];
  if (eosTokenIds.length === 0) problems.push('neither generation_config.json nor config.json has an eos_token_id');
  if (bosTokenId == null) problems.push('neither generation_config.json nor config.json has a bos_token_id');
  const rows = text.vocab_size + 8;
  for (const id of [...eosTokenIds, ...(bosTokenId == null ? [] : [bosTokenId])]) {
    if (id >= rows) problems.push(`special token ${id} lies outside the ${rows} embedding rows`);
  }
  return {
    problems,
    generation: {
      bosTokenId: bosTokenId ?? 0,
      padTokenId: padTokenId !== null && padTokenId >= 0 ? padTokenId : null,
      eosTokenIds,
      doSample: file.do_sample ?? false,
      temperature: file.temperature ?? 1,
      topP: file.top_p ?? 1,
    },
  };
}
