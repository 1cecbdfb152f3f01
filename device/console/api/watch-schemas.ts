/** What crosses the HTTP API about watches. What a watch is stands in the contract of the bus. */
import { type AnswerValue, eventSchema, watchDefinitionSchema, watchReportSchema } from 'scenebus/bus';
import { z } from 'zod';
import { type FrameInfo, frameReference, type GroundedBox, idSchema } from './schemas.js';

export const watchParams = z.strictObject({ watch: idSchema });

const standingSchema = z.strictObject({
  ...watchReportSchema.shape,
  cameras: z.array(
    z.strictObject({
      ...watchReportSchema.shape.cameras.element.shape,
      /** Unix time, milliseconds, since when the value is this one; null before the first answer. */
      sinceMs: z.number().nullable(),
      /** What the value rests on. */
      frame: frameReference.nullable(),
      /** false: outside of its hours, paused, or switched off for this camera. */
      isActive: z.boolean(),
      /** Why it cannot be asked now; null: nothing is wrong. */
      problem: z.string().nullable(),
    }),
  ),
});
export type WatchStanding = z.infer<typeof standingSchema>;
export const oneWatchSchema = z.strictObject({ watch: standingSchema });
export const watchesSchema = z.strictObject({ watches: z.array(standingSchema) });
export type WatchesInfo = z.infer<typeof watchesSchema>;
export type { AnswerValue, WatchChanges, WatchDefinition } from 'scenebus/bus';

export const historyQuery = z.strictObject({ hours: z.coerce.number().min(1).max(720).default(24) });

const value = eventSchema.shape.value;
const probability = eventSchema.shape.probability;
const spanSchema = z.strictObject({
  fromMs: z.number(),
  toMs: z.number(),
  /** null: not known, because it was not asked or the journal does not reach back so far. */
  value: value.nullable(),
  /** Of the value, when it was found. */
  probability,
  /** An event lasted. */
  isLasting: z.boolean(),
});
const foundSchema = z.strictObject({
  id: z.string(),
  run: z.string(),
  atMs: z.number(),
  camera: z.string(),
  type: eventSchema.shape.type,
  value,
  probability,
  frame: frameReference.nullable(),
});
export const historySchema = z.strictObject({
  fromMs: z.number(),
  toMs: z.number(),
  /** false: there were more events than are shown; the oldest are left out. */
  isWhole: z.boolean(),
  cameras: z.array(z.strictObject({ camera: z.string(), spans: z.array(spanSchema) })),
  /** The newest first. */
  events: z.array(foundSchema),
});
export type WatchHistory = z.infer<typeof historySchema>;
export type WatchSpan = z.infer<typeof spanSchema>;
export type WatchFound = z.infer<typeof foundSchema>;

export const trialSchema = z.strictObject({
  watch: watchDefinitionSchema,
  /** Left out with one camera: that one. */
  camera: idSchema.optional(),
  /** Of the journal; left out: the newest frame. */
  lastMinutes: z.number().min(1).max(1_440).optional(),
  /** The newest so many. */
  maxPictures: z.int().min(1).max(2_000).default(600),
});
export type TrialInput = z.output<typeof trialSchema>;
export type TrialRequest = z.input<typeof trialSchema>;
/** The last event of a trial that failed. */
export type TrialFailure = { readonly type: 'error'; readonly code: string; readonly message: string };

/** One server-sent event of a trial, its name in `type`; `error` may be the last. */
export type TrialEvent =
  | {
      readonly type: 'start';
      /** That the watch will go through. */
      readonly pictures: number;
      /** There are older ones within the time, which are left out. */
      readonly isCut: boolean;
      readonly fromMs: number;
      readonly toMs: number;
    }
  | {
      readonly type: 'look';
      readonly index: number;
      readonly atMs: number;
      readonly frame: FrameInfo;
      readonly run: string;
      /** What the model said; null: it was not asked about this picture. */
      readonly answer: AnswerValue | null;
      readonly probability: number | null;
      readonly text: string | null;
      /** What counts after it. */
      readonly value: AnswerValue | null;
      readonly isLasting: boolean;
      readonly event: 'new' | 'update' | 'end' | null;
    }
  | {
      readonly type: 'result';
      readonly asked: number;
      /** How often an event would have begun. */
      readonly fired: number;
      readonly objects: readonly GroundedBox[];
    };
