/** What servers send, as far as it is read. https://platform.openai.com/docs/api-reference/chat */
import { z } from 'zod';

const tokenSchema = z.object({
  token: z.string().max(4_096),
  logprob: z.number().max(1e-3),
  bytes: z.array(z.int().min(0).max(255)).max(4_096).nullish(),
});
export type ChunkToken = z.output<typeof tokenSchema>;

const fraction = z.number().min(0).max(1);
/** As a SceneBus sends them; what else stands there is of the picture that it was sent. */
const objectSchema = z.object({
  label: z.string().max(1_000),
  box: z.object({ x1: fraction, y1: fraction, x2: fraction, y2: fraction }),
  score: fraction,
  source: z.enum(['text', 'attention', 'detector']),
  verified: z.boolean().optional(),
  peak: z.object({ x: fraction, y: fraction }).optional(),
});
export type ChunkObject = z.output<typeof objectSchema>;

const text = z.object({ content: z.string().nullish(), refusal: z.string().nullish() });
const count = z.int().min(0).max(1e9);

/** An event of a stream, or a whole answer: they differ in `delta` and `message`. */
export const chunkSchema = z.object({
  model: z.string().max(1_000).nullish(),
  choices: z
    .array(
      z.object({
        delta: text.nullish(),
        message: text.nullish(),
        logprobs: z
          .object({
            content: z.array(tokenSchema.extend({ top_logprobs: z.array(tokenSchema).max(64).nullish() })).nullish(),
          })
          .nullish(),
        finish_reason: z.string().max(100).nullish(),
      }),
    )
    .max(1)
    .nullish(),
  usage: z
    .object({
      prompt_tokens: count,
      completion_tokens: count.nullish(),
      prompt_tokens_details: z.object({ cached_tokens: count.nullish() }).nullish(),
    })
    .nullish(),
  error: z.union([z.string(), z.object({ message: z.string(), code: z.unknown().optional() })]).nullish(),
  scenebus: z
    .object({
      objects: z.array(objectSchema).max(1_000).default([]),
      sentence: z.string().max(100_000).optional(),
      warnings: z.array(z.string().max(10_000)).max(100).default([]),
    })
    .optional(),
});
export type Chunk = z.output<typeof chunkSchema>;

/** GET /models. */
export const modelsSchema = z.object({
  data: z
    .array(
      z.object({
        id: z.string().max(1_000),
        owned_by: z.string().max(1_000).nullish(),
        /** As vLLM and SceneBus tell it. */
        max_model_len: count.nullish(),
      }),
    )
    .max(10_000),
});
