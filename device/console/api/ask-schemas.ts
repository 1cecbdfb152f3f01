/** What crosses the HTTP API about questions. Types of answers are those of the bus. */
import { LIMITS } from 'scenebus';
import { type AnswerValue, askRequestSchema } from 'scenebus/bus';
import { z } from 'zod';
import { type FrameInfo, type GroundedBox, idSchema } from './schemas.js';

const { answerType, choices, answerSchema, verify } = askRequestSchema.shape;
export const EARLIER_TURNS = 16;

export const askSchema = z
  .strictObject({
    question: z.string().trim().min(1).max(LIMITS.questionCharacters),
    /** Its newest frame, unless `frame` names another. Left out with one camera: that one. */
    camera: idSchema.optional(),
    /** A frame that an event names, or a picture that was sent. */
    frame: z.strictObject({ id: idSchema, run: idSchema.optional() }).optional(),
    answerType,
    choices,
    answerSchema,
    verify,
    /** What was asked and answered about this frame before, oldest first: the model is told of it. */
    turns: z
      .array(
        z.strictObject({
          question: z.string().trim().min(1).max(LIMITS.questionCharacters),
          answer: z.string().min(1).max(8_192),
        }),
      )
      .max(EARLIER_TURNS)
      .optional(),
  })
  .refine((body) => (body.answerType === 'choice') === (body.choices !== undefined), {
    error: 'Expected choices with the answer type choice, and only with it',
    path: ['choices'],
  })
  .refine((body) => body.answerType === undefined || body.answerSchema === undefined, {
    error: 'Expected an answer type or an answer schema, not both',
    path: ['answerSchema'],
  })
  .refine(({ turns = [], frame }) => turns.length === 0 || frame !== undefined, {
    error: 'Expected the frame that the earlier turns are about',
    path: ['frame'],
  })
  .refine((body) => !body.turns?.length || (body.answerType ?? 'text') === 'text', {
    error: 'Expected no earlier turns beside an answer that is decided from its question alone',
    path: ['turns'],
  });
export type AskInput = z.input<typeof askSchema>;

/** One server-sent event of an answer, its name in `type`. */
export type AskEvent =
  | { readonly type: 'frame'; readonly camera: string | null; readonly frame: FrameInfo }
  | { readonly type: 'text'; readonly text: string }
  | {
      readonly type: 'answer';
      readonly text: string;
      /** In words, where the text is nothing but boxes; null: as the text. */
      readonly sentence: string | null;
      /** With an answer type or a schema: the answer as a JSON value, checked. */
      readonly value?: unknown;
      /** Of the value; null: it was written, not decided. */
      readonly probability: number | null;
      /** Between which it was decided, the most probable first. */
      readonly options: readonly { readonly value: AnswerValue; readonly probability: number }[];
      readonly objects: readonly GroundedBox[];
      readonly finishReason: string;
      readonly timings: Readonly<Record<string, number>>;
      readonly usage: Readonly<Record<string, number>>;
      readonly notices: readonly string[];
    }
  | { readonly type: 'error'; readonly code: string; readonly message: string };

export const schemaCheckSchema = z.strictObject({ answerSchema: answerSchema.unwrap() });
export const schemaVerdictSchema = z.strictObject({
  /** Why an answer cannot be held to it; null: it can. */
  problem: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
});
export type SchemaVerdict = z.infer<typeof schemaVerdictSchema>;
