/** A caller's question and the device's answer. */
import { z } from 'zod';
import { LIMITS } from '../../../core/limits.js';
import {
  answerFields,
  BOXES_INSIDE_IMAGE,
  boxesInsideImage,
  envelope,
  errorSchema,
  provenance,
  SCHEMA_IDS,
  topicSegmentSchema,
} from './common.js';

/** Deadlines that a caller may set. The longest leaves room for an 11B model on a small CPU. */
export const REQUEST_TIMEOUT_MS = { min: 100, max: 600_000 } as const;

export const askRequestSchema = z
  .strictObject({
    schema: z.literal(SCHEMA_IDS.ask).optional(),
    question: z
      .string()
      .max(LIMITS.questionCharacters)
      .refine((text) => text.trim() !== '', { error: 'Expected a question, but it is empty' })
      .meta({ title: 'Question' }),
    camera: topicSegmentSchema
      .optional()
      .meta({ title: 'Camera', description: 'Camera id; may be left out when the device has one camera' }),
    transaction: z.string().min(1).max(128).optional().meta({
      title: 'Transaction',
      description: 'Comes back in the response; how MQTT 3.1.1 callers match answers to questions',
    }),
    responseTopic: z.string().min(1).max(LIMITS.busTopicBytes).optional().meta({
      title: 'Response topic',
      description: 'For MQTT 3.1.1; the MQTT 5 property wins. Left out: response/ask of the device',
    }),
    timeoutMs: z.int().min(REQUEST_TIMEOUT_MS.min).max(REQUEST_TIMEOUT_MS.max).optional().meta({
      title: 'Deadline, milliseconds after arrival',
      description: 'An MQTT 5 message expiry counts as well; the earlier one holds',
    }),
    maxNewTokens: z.int().min(1).max(4096).optional().meta({ title: 'Longest answer, tokens' }),
    temperature: z.number().min(0).max(2).optional().meta({ title: 'Temperature', description: '0 is greedy' }),
    seed: z.int().min(0).max(0xffff_ffff).optional().meta({ title: 'Seed', description: 'For a temperature above 0' }),
  })
  .meta({ title: 'Question', description: 'Publish on request/ask, not retained' });
export type AskRequest = z.infer<typeof askRequestSchema>;

const responseFields = {
  ...envelope(SCHEMA_IDS.response),
  verb: z.string().meta({ title: 'Verb', description: 'What was asked for: the last level of the request topic' }),
  transaction: z.string().optional().meta({ title: 'Transaction', description: 'From the request, unchanged' }),
};

export const answerDataSchema = z
  .strictObject({
    question: z.string(),
    ...answerFields,
    notices: z.array(z.string()).optional().meta({
      title: 'Notices',
      description:
        'What to know of the picture, in words: that it is old, that the clip has ended, that it stands still',
    }),
  })
  .refine(boxesInsideImage, BOXES_INSIDE_IMAGE)
  .meta({ title: 'Answer' });
export type AnswerData = z.infer<typeof answerDataSchema>;

export const okResponseSchema = z.strictObject({
  ...responseFields,
  status: z.literal('ok'),
  ...provenance,
  data: answerDataSchema,
});
export const errorResponseSchema = z.strictObject({
  ...responseFields,
  status: z.literal('error'),
  error: errorSchema,
});

export const responseSchema = z
  .discriminatedUnion('status', [okResponseSchema, errorResponseSchema])
  .meta({ title: 'Response', description: 'To the caller’s response topic, else to response/<verb>. Not retained' });
export type Response = z.infer<typeof responseSchema>;
export type OkResponse = z.infer<typeof okResponseSchema>;
export type ErrorResponse = z.infer<typeof errorResponseSchema>;
