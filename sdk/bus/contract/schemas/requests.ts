/** What callers ask for: one schema for each verb. */
import { z } from 'zod';
import { LIMITS } from '../../../core/limits.js';
import {
  answerTypeSchema,
  CHOICES_FIT,
  choicesFit,
  choicesSchema,
  identifierSchema,
  questionSchema,
  SCHEMA_IDS,
  topicSegmentSchema,
  transactionSchema,
} from './common.js';
import { groupField } from './group.js';
import { watchChangesSchema, watchDefinitionSchema } from './watch.js';

/** Deadlines that a caller may set. The longest leaves room for an 11B model on a small CPU. */
export const REQUEST_TIMEOUT_MS = { min: 100, max: 600_000 } as const;
/** Levels of brackets in an answer schema. */
const ANSWER_SCHEMA_DEPTH = 32;

/** In every request. */
function requestFields<Id extends string>(schema: Id) {
  return {
    schema: z.literal(schema).optional(),
    transaction: transactionSchema.optional(),
    responseTopic: z.string().min(1).max(LIMITS.busTopicBytes).optional().meta({
      title: 'Response topic',
      description: 'For MQTT 3.1.1; the MQTT 5 property wins. Left out: response/<verb> of the device',
    }),
    timeoutMs: z.int().min(REQUEST_TIMEOUT_MS.min).max(REQUEST_TIMEOUT_MS.max).optional().meta({
      title: 'Deadline, milliseconds after arrival',
      description: 'An MQTT 5 message expiry counts as well; the earliest of all deadlines holds',
    }),
    deadlineMs: z.int().min(0).optional().meta({
      title: 'Deadline, Unix time in milliseconds',
      description: 'Only for callers whose clock agrees with the device’s. Past it, the request is refused',
    }),
  };
}

/** In every request about a picture. */
const frameFields = {
  camera: topicSegmentSchema
    .optional()
    .meta({ title: 'Camera', description: 'Camera id; may be left out when the device has one camera' }),
  frameId: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .meta({ title: 'Frame', description: 'A frame that the device still has; left out: the newest' }),
};

/** In every request that the model works on. */
const modelFields = {
  priority: z.enum(['low', 'normal', 'high']).optional().meta({
    title: 'Priority',
    description:
      'high: goes before normal questions, from the next token of the answer that is being written; callers with high ones take turns, and whoever waits behind them still gets a tenth of the time. Nobody is asked for permission: whoever the broker lets ask may claim it, within the rate limit of one caller. low: gives way to every other question and to watches. Left out: normal',
  }),
  maxNewTokens: z.int().min(1).max(4096).optional().meta({ title: 'Longest answer, tokens' }),
};
const streamField = {
  stream: z.boolean().optional().meta({
    title: 'Stream',
    description: 'true: pieces of the text come as partial responses before the whole answer',
  }),
};

/** In requests whose answers hold boxes. */
const verifyField = {
  verify: z.boolean().optional().meta({
    title: 'Verify',
    description:
      'true: the model is asked about the cut-out of each box, at most 16; each takes as long as a question about a new picture. Left out: as the device has it',
  }),
};

/** A question about a frame. */
export const askRequestSchema = z
  .strictObject({
    ...requestFields(SCHEMA_IDS.ask),
    question: questionSchema,
    ...frameFields,
    answerType: answerTypeSchema.optional(),
    choices: choicesSchema.optional(),
    answerSchema: z
      .record(z.string(), z.unknown())
      .refine((schema) => isNoDeeperThan(schema, ANSWER_SCHEMA_DEPTH), {
        error: `Expected a JSON Schema of at most ${ANSWER_SCHEMA_DEPTH} levels`,
      })
      .optional()
      .meta({
        title: 'Answer schema',
        description: 'JSON Schema that `value` of the answer will fit; instead of an answer type',
      }),
    ...modelFields,
    ...streamField,
    ...verifyField,
    ...groupField,
    temperature: z.number().min(0).max(2).optional().meta({ title: 'Temperature', description: '0 is greedy' }),
    seed: z.int().min(0).max(0xffff_ffff).optional().meta({ title: 'Seed', description: 'For a temperature above 0' }),
  })
  .refine(choicesFit, CHOICES_FIT)
  .refine(({ answerType, answerSchema }) => answerType === undefined || answerSchema === undefined, {
    error: 'Expected an answer type or an answer schema, not both',
    path: ['answerSchema'],
  })
  .meta({ title: 'Question', description: 'Publish on request/ask, not retained' });
/** Payload of `request/ask`. */
export type AskRequest = z.infer<typeof askRequestSchema>;

/** A description is wanted, now. */
export const describeRequestSchema = z
  .strictObject({
    ...requestFields(SCHEMA_IDS.describe),
    ...frameFields,
    prompt: questionSchema.optional().meta({ title: 'Prompt', description: 'Left out: the device’s own' }),
    ...modelFields,
    ...streamField,
    ...verifyField,
    ...groupField,
  })
  .meta({ title: 'Description wanted', description: 'Publish on request/describe, not retained' });
/** Payload of `request/describe`. */
export type DescribeRequest = z.infer<typeof describeRequestSchema>;

/** Boxes of named objects are wanted. */
export const locateRequestSchema = z
  .strictObject({
    ...requestFields(SCHEMA_IDS.locate),
    objects: z
      .array(z.string().trim().min(1).max(128))
      .min(1)
      .max(16)
      .meta({ title: 'Objects', description: 'Names of what to look for, for example "red cup"' }),
    ...frameFields,
    priority: modelFields.priority,
    ...verifyField,
    ...groupField,
  })
  .meta({ title: 'Boxes wanted', description: 'Publish on request/locate, not retained' });
/** Payload of `request/locate`. */
export type LocateRequest = z.infer<typeof locateRequestSchema>;

/** The picture itself is wanted. */
export const snapshotRequestSchema = z
  .strictObject({
    ...requestFields(SCHEMA_IDS.snapshot),
    ...frameFields,
    maxWidth: z.int().min(16).max(8192).optional().meta({ title: 'Greatest width, pixels' }),
    quality: z.int().min(1).max(100).optional().meta({ title: 'JPEG quality', description: 'Left out: 80' }),
  })
  .meta({ title: 'Snapshot wanted', description: 'Publish on request/snapshot, not retained' });
/** Payload of `request/snapshot`. */
export type SnapshotRequest = z.infer<typeof snapshotRequestSchema>;

/** Kept frames of something are wanted. */
export const findRequestSchema = z
  .strictObject({
    ...requestFields(SCHEMA_IDS.find),
    text: questionSchema.meta({
      title: 'Text',
      description: 'What is seen, as a description would say it, for example "a red cup near the book"',
    }),
    camera: topicSegmentSchema.optional().meta({ title: 'Camera', description: 'Left out: all of them' }),
    fromMs: z.int().min(0).optional().meta({
      title: 'From, Unix time in milliseconds',
      description: 'Described not before, by the device’s clock',
    }),
    toMs: z.int().min(0).optional().meta({ title: 'To, Unix time in milliseconds', description: 'Described before' }),
    limit: z.int().min(1).max(50).optional().meta({ title: 'Most frames', description: 'Left out: 5' }),
    candidates: z.int().min(1).max(256).optional().meta({
      title: 'Candidates',
      description:
        'Pictures that the model looks at, chosen by the words of their descriptions. Left out: 32. Each takes what a description takes to begin',
    }),
    priority: modelFields.priority,
  })
  .meta({ title: 'Frames wanted', description: 'Publish on request/find, not retained' });
/** Payload of `request/find`. */
export type FindRequest = z.infer<typeof findRequestSchema>;

/** The state of the device is wanted, now. */
export const healthRequestSchema = z
  .strictObject(requestFields(SCHEMA_IDS.healthRequest))
  .meta({ title: 'Health wanted', description: 'Publish on request/health, not retained' });
/** Payload of `request/health`. */
export type HealthRequest = z.infer<typeof healthRequestSchema>;

/** A standing question is to be added. */
export const watchAddRequestSchema = z
  .strictObject({ ...requestFields(SCHEMA_IDS.watchAdd), watch: watchDefinitionSchema })
  .meta({
    title: 'New watch',
    description: 'Publish on request/watch/add, not retained. An id that exists is refused',
  });
/** Payload of `request/watch/add`. */
export type WatchAddRequest = z.infer<typeof watchAddRequestSchema>;

/** Fields of a standing question are to be changed. */
export const watchChangeRequestSchema = z
  .strictObject({ ...requestFields(SCHEMA_IDS.watchChange), id: identifierSchema, changes: watchChangesSchema })
  .meta({ title: 'Change of a watch', description: 'Publish on request/watch/change, not retained' });
/** Payload of `request/watch/change`. */
export type WatchChangeRequest = z.infer<typeof watchChangeRequestSchema>;

/** A standing question is to be taken away. */
export const watchRemoveRequestSchema = z
  .strictObject({ ...requestFields(SCHEMA_IDS.watchRemove), id: identifierSchema })
  .meta({ title: 'End of a watch', description: 'Publish on request/watch/remove, not retained' });
/** Payload of `request/watch/remove`. */
export type WatchRemoveRequest = z.infer<typeof watchRemoveRequestSchema>;

/** Every standing question is wanted. */
export const watchListRequestSchema = z
  .strictObject(requestFields(SCHEMA_IDS.watchList))
  .meta({ title: 'Watches wanted', description: 'Publish on request/watch/list, not retained' });
/** Payload of `request/watch/list`. */
export type WatchListRequest = z.infer<typeof watchListRequestSchema>;

/** Counted without recursion: the value comes from strangers and may be nested as deep as its bytes allow. */
function isNoDeeperThan(value: unknown, levels: number): boolean {
  let layer: unknown[] = [value];
  for (let depth = 0; layer.length > 0; depth += 1) {
    if (depth > levels) return false;
    layer = layer.flatMap((item) => (typeof item === 'object' && item !== null ? Object.values(item) : []));
  }
  return true;
}
