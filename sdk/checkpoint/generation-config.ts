import { z } from 'zod';
import { DEFAULT_TOKEN_IDS, type MllamaConfig } from './config.js';
import { readJsonFile } from './json-file.js';

/** How the model's authors want it to generate: `generation_config.json` in this product's names. */
export interface GenerationDefaults {
  readonly bosTokenId: number;
  readonly padTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topP: number;
  /** Likeliest tokens to draw from; 0: all. */
  readonly topK: number;
  /** Share of the likeliest token's probability below which none is drawn; 0: off. */
  readonly minP: number;
  /** Above 1: tokens of prompt and answer become less likely; 1: off. */
  readonly repetitionPenalty: number;
  /** No sequence of so many tokens comes twice; 0: off. */
  readonly noRepeatNgramSize: number;
  /** undefined: not stated. */
  readonly maxNewTokens: number | undefined;
}

const tokenId = z.int().min(0);

const generationSchema = z.looseObject({
  bos_token_id: tokenId.nullish(),
  pad_token_id: z.int().nullish(),
  eos_token_id: z.union([tokenId.transform((id) => [id]), z.array(tokenId)]).nullish(),
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().max(100).nullish(),
  no_repeat_ngram_size: z.int().min(0).max(1000).nullish(),
  max_new_tokens: z.int().min(1).nullish(),
});

/** What says nothing about the text: bookkeeping, how it is computed, what a Python call returns. */
const WITHOUT_EFFECT =
  /^(_.*|transformers_version|use_cache|return_dict_in_generate|output_.*|cache_.*|compile_config|disable_compile|num_return_sequences|prompt_lookup_num_tokens|max_matching_ngram_size|assistant_.*|num_assistant_.*|is_assistant|remove_invalid_values|renormalize_logits|low_memory|max_time|trust_remote_code|use_model_defaults|continuous_batching_config|prefill_chunk_size|target_lookbehind)$/;

/** Values with which a field of transformers' `GenerationConfig` changes nothing. */
const NEUTRAL: ReadonlyMap<string, readonly unknown[]> = new Map<string, readonly unknown[]>([
  ['num_beams', [1]],
  ['num_beam_groups', [1]],
  ['early_stopping', [false, true, 'never']], // of beams
  ['length_penalty', [1]],
  ['diversity_penalty', [0]],
  ['typical_p', [1]],
  ['epsilon_cutoff', [0]],
  ['eta_cutoff', [0]],
  ['encoder_repetition_penalty', [1]],
  ['encoder_no_repeat_ngram_size', [0]],
  ['min_length', [0]],
  ['max_length', [20]], // the class's default, which nobody means
  ['guidance_scale', [1]],
  ['token_healing', [false]],
  ['constraints', []],
]);

/** `generation_config.json`; what it lacks comes from `config.json`. */
export async function readGenerationDefaults(
  directory: string,
  config: MllamaConfig,
): Promise<{ generation: GenerationDefaults; problems: string[]; warnings: string[] }> {
  const file = (await readJsonFile(directory, 'generation_config.json', generationSchema)) ?? {};
  const text = config.text_config;
  // transformers writes a config by its difference to the class: what is left out has the class's value, null has none.
  const ofClass = <T>(stated: T | null | undefined, value: T) => (stated === undefined ? value : null);
  const eosTokenIds =
    file.eos_token_id ??
    text.eos_token_id ??
    config.eos_token_id ??
    ofClass<readonly number[]>(text.eos_token_id, DEFAULT_TOKEN_IDS.eos) ??
    [];
  const bosTokenId =
    file.bos_token_id ?? text.bos_token_id ?? config.bos_token_id ?? ofClass(text.bos_token_id, DEFAULT_TOKEN_IDS.bos);
  const padTokenId =
    file.pad_token_id ?? text.pad_token_id ?? config.pad_token_id ?? ofClass(text.pad_token_id, DEFAULT_TOKEN_IDS.pad);
  const problems: string[] = [];
  if (eosTokenIds.length === 0) problems.push('neither generation_config.json nor config.json has an eos_token_id');
  if (bosTokenId == null) problems.push('neither generation_config.json nor config.json has a bos_token_id');
  const rows = text.vocab_size + 8;
  for (const id of [...eosTokenIds, ...(bosTokenId == null ? [] : [bosTokenId])]) {
    if (id >= rows) problems.push(`special token ${id} lies outside the ${rows} embedding rows`);
  }
  return {
    problems,
    warnings: notHonoured(file),
    generation: {
      bosTokenId: bosTokenId ?? 0,
      padTokenId: padTokenId !== null && padTokenId >= 0 ? padTokenId : null,
      eosTokenIds,
      doSample: file.do_sample ?? false,
      temperature: file.temperature ?? 1,
      topP: file.top_p ?? 1,
      topK: file.top_k ?? 0,
      minP: file.min_p ?? 0,
      repetitionPenalty: file.repetition_penalty ?? 1,
      noRepeatNgramSize: file.no_repeat_ngram_size ?? 0,
      maxNewTokens: file.max_new_tokens ?? undefined,
    },
  };
}

function notHonoured(file: Readonly<Record<string, unknown>>): string[] {
  const ignored = Object.entries(file).filter(([name, value]) => {
    if (Object.hasOwn(generationSchema.shape, name) || WITHOUT_EFFECT.test(name)) return false;
    return !isNothing(value) && NEUTRAL.get(name)?.includes(value) !== true;
  });
  if (ignored.length === 0) return [];
  const shown = ignored.map(([name, value]) => `${name} ${JSON.stringify(value).slice(0, 60)}`).join(', ');
  return [`generation_config.json: ${shown} ${ignored.length === 1 ? 'is' : 'are'} not implemented and not honoured`];
}

function isNothing(value: unknown): boolean {
  if (value === null || value === undefined) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
