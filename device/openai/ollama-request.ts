/** Bodies of Ollama's API. https://github.com/ollama/ollama/blob/main/docs/api.md */
import type { ChatMessage, GenerateOptions, JsonSchema } from 'scenebus';
import { z } from 'zod';
import type { AskedMessage } from './asked-messages.js';
import { ANY_OBJECT, checked, extensionField, requireObject } from './chat-request.js';
import { type RequestPictures, requireFewPictures } from './pictures.js';

const optionsSchema = z.strictObject({
  temperature: z.number().min(0).max(100).optional(),
  top_p: z.number().positive().max(1).optional(),
  top_k: z.int().min(0).optional(),
  min_p: z.number().min(0).max(1).optional(),
  repeat_penalty: z.number().positive().max(100).optional(),
  presence_penalty: z.number().min(-2).max(2).optional(),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  seed: z.int().optional(),
  /** Below 1: as much as there is room for. */
  num_predict: z.int().optional(),
  stop: z.union([z.string(), z.array(z.string())]).optional(),
});

const images = z.array(z.string()).optional();
const shared = {
  model: z.string(),
  stream: z.boolean().default(true),
  format: z.union([z.enum(['', 'json']), z.record(z.string(), z.unknown())]).default(''),
  options: optionsSchema.default({}),
  ...extensionField,
};
const generateSchema = z.strictObject({
  ...shared,
  prompt: z.string().default(''),
  system: z.string().default(''),
  images,
});
const chatSchema = z.strictObject({
  ...shared,
  messages: z
    .array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string().default(''), images }))
    .default([]),
});

/** Of the runtime that Ollama has and this server has not, or of its memory: they change no word of an answer. */
const IDLE_OPTIONS = ['num_ctx', 'num_keep', 'num_batch', 'num_gpu', 'main_gpu', 'num_thread', 'use_mmap', 'numa'];
/** They would change the answer; Ollama itself has dropped most of them. */
const IGNORED_SAMPLING = ['repeat_last_n', 'typical_p', 'tfs_z', 'mirostat', 'mirostat_tau', 'mirostat_eta'];

export interface OllamaAsk {
  readonly model: string;
  readonly stream: boolean;
  /** Empty: the client only wants the model to be loaded. */
  readonly messages: readonly {
    readonly role: ChatMessage['role'];
    readonly text: string;
    readonly images: string[];
  }[];
  readonly options: GenerateOptions;
  readonly warnings: readonly string[];
}

/** @throws ApiError 400 naming what is wrong, or what is not honoured */
export function readGenerate(given: unknown): OllamaAsk {
  const { left, warnings } = withoutIdle(given);
  const { model, stream, prompt, system, images: pictures = [], ...asked } = checked(generateSchema, left);
  const isEmpty = prompt === '' && pictures.length === 0;
  const messages = [
    ...(system === '' ? [] : [{ role: 'system' as const, text: system, images: [] }]),
    { role: 'user' as const, text: prompt, images: pictures },
  ];
  return { model, stream, messages: isEmpty ? [] : messages, options: optionsOf(asked), warnings };
}

/** @throws as `readGenerate` */
export function readChat(given: unknown): OllamaAsk {
  const { left, warnings } = withoutIdle(given);
  const { model, stream, messages, ...asked } = checked(chatSchema, left);
  const turns = messages.map(({ role, content, images: pictures = [] }) => ({ role, text: content, images: pictures }));
  return { model, stream, messages: turns, options: optionsOf(asked), warnings };
}

/** Pictures come before the text of their message, as Ollama has it. @throws ApiError 400 */
export function askedTurns({ messages }: OllamaAsk, pictures: RequestPictures): AskedMessage[] {
  const count = messages.reduce((sum, message) => sum + message.images.length, 0);
  requireFewPictures(count, 'images');
  return messages.map(({ role, text, images: encoded }) => {
    if (encoded.length === 0) return { role, content: text };
    const parts = encoded.map((image) => ({ type: 'picture' as const, open: pictures.ofBase64(image, 'images') }));
    return { role, content: [...parts, { type: 'text', text }] };
  });
}

function optionsOf({
  options: given,
  format,
  scenebus,
}: Pick<z.infer<typeof chatSchema>, 'options' | 'format' | 'scenebus'>): GenerateOptions {
  const { num_predict: most = 0, seed } = given;
  return {
    temperature: given.temperature,
    topP: given.top_p,
    topK: given.top_k,
    minP: given.min_p,
    repetitionPenalty: given.repeat_penalty,
    presencePenalty: given.presence_penalty,
    frequencyPenalty: given.frequency_penalty,
    seed: seed === undefined ? undefined : Math.abs(seed),
    maxNewTokens: most < 1 ? undefined : most,
    stop: given.stop,
    schema: format === '' ? undefined : format === 'json' ? ANY_OBJECT : (format as JsonSchema),
    schemaFrom: 'stranger',
    verify: scenebus?.verify,
  };
}

function withoutIdle(given: unknown): { left: Record<string, unknown>; warnings: string[] } {
  const warnings: string[] = [];
  const drop = (fields: object, names: readonly string[], where: string) =>
    Object.fromEntries(
      Object.entries(fields).filter(([name, value]) => {
        if (value === null) return false;
        if (!names.includes(name)) return true;
        warnings.push(`${where}${name} has no effect on this server.`);
        return false;
      }),
    );
  const left = drop(requireObject(given), ['keep_alive'], '');
  // Values that ask for nothing.
  if (left.think === false) delete left.think;
  for (const name of ['tools', 'context', 'template', 'suffix', 'raw']) {
    const value = left[name];
    if (value === '' || value === false || (Array.isArray(value) && value.length === 0)) delete left[name];
  }
  if (typeof left.options === 'object' && left.options !== null)
    left.options = drop(left.options, [...IDLE_OPTIONS, ...IGNORED_SAMPLING], 'options.');
  return { left, warnings };
}
