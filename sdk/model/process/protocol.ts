/**
 * Messages between a model and its process. Options cross as they are: the model in the process checks them, as it does
 * without one.
 */
import { z } from 'zod';
import { ERROR_CODES, type ErrorCode } from '../../core/errors.js';
import type { Logger, OnProgress } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';

/** Options of a load as the process sees them: what it listens to, and others that it does not look into. */
export interface LoadOptions extends CallOptions {
  readonly logger?: Logger | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** Id of the load in `abort`; calls count from 1. */
export const LOAD_ID = 0;

const id = z.int().nonnegative();
const step = z.union([z.string(), z.int().nonnegative()]);
const shared = z.array(
  z.strictObject({ path: z.array(step).min(1), offsetBytes: z.int().nonnegative(), sizeBytes: z.int().positive() }),
);

/** Messages to the process of a model. */
export const toModelSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('load'),
    directory: z.string(),
    options: z.record(z.string(), z.unknown()),
    /** What the parent listens to. */
    wants: z.strictObject({ progress: z.boolean(), log: z.boolean() }),
  }),
  z.strictObject({
    type: z.literal('call'),
    id: id.positive(),
    method: z.enum(['ask', 'describe', 'decide', 'likelihood', 'complete', 'generate']),
    /** The last one is the options, without a signal. */
    values: z.array(z.unknown()).min(1),
    shared,
  }),
  z.strictObject({ type: z.literal('abort'), id }),
  z.strictObject({ type: z.literal('dispose') }),
]);

/** A message to the process of a model. */
export type ToModel = z.output<typeof toModelSchema>;

/** Methods of the model that cross to its process. */
export type ModelMethod = Extract<ToModel, { type: 'call' }>['method'];

const error = z.object({
  code: z
    .string()
    .transform((code): ErrorCode => (Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'ERR_INTERNAL')),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional().default({}),
  cause: z.string().optional(),
});

/** Messages from the process of a model, which is not trusted to be well: it may be dying. */
export const fromModelSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('loaded'), info: z.unknown(), stats: z.unknown() }),
  z.object({ type: z.literal('stats'), stats: z.unknown() }),
  z.object({ type: z.literal('progress'), progress: z.unknown() }),
  z.object({
    type: z.literal('log'),
    level: z.enum(['debug', 'info', 'warn', 'error']),
    message: z.string(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
  z.object({ type: z.literal('text'), id, text: z.string() }),
  z.object({ type: z.literal('answer'), id, answer: z.unknown() }),
  /** `id` LOAD_ID: the load. */
  z.object({ type: z.literal('failed'), id, error }),
]);

/** A message from the process of a model. */
export type FromModel = z.input<typeof fromModelSchema>;
