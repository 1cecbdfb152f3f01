/** What devices answer: one body for each verb, refusals, and pieces of an answer. */
import { z } from 'zod';
import {
  answerFields,
  BOXES_INSIDE_IMAGE,
  boxConventionSchema,
  boxesInsideImage,
  envelope,
  errorSchema,
  frameProvenance,
  identifierSchema,
  imageSizeSchema,
  modelSchema,
  objectSchema,
  provenance,
  SCHEMA_IDS,
  transactionSchema,
  unit,
} from './common.js';
import { healthFields } from './device.js';
import { groupAnswerField } from './group.js';
import { watchReportSchema } from './watch.js';

const responseFields = {
  ...envelope(SCHEMA_IDS.response),
  transaction: transactionSchema.optional(),
  ...groupAnswerField,
};
/** Of the verbs that this version knows; refusals may name others. */
const anyVerb = z.string().meta({ title: 'Verb', description: 'What was asked for: the end of the request topic' });

export const answerDataSchema = z
  .strictObject({
    question: z.string(),
    ...answerFields,
    value: z.unknown().optional().meta({
      title: 'Value',
      description: 'With an answer type or schema: the answer as a JSON value of that type',
    }),
    probability: unit.optional().meta({ title: 'Probability', description: 'Of the value, where it was measured' }),
  })
  .refine(boxesInsideImage, BOXES_INSIDE_IMAGE)
  .meta({ title: 'Answer' });
/** `data` of the response to `ask`. */
export type AnswerData = z.infer<typeof answerDataSchema>;

export const descriptionDataSchema = z
  .strictObject(answerFields)
  .refine(boxesInsideImage, BOXES_INSIDE_IMAGE)
  .meta({ title: 'Description' });

export const locationDataSchema = z
  .strictObject({
    objects: z.array(objectSchema).meta({ title: 'Objects', description: 'Labels are the names that were asked for' }),
    notFound: z
      .array(z.string())
      .meta({ title: 'Not found', description: 'Names without a box that the model did not refute' }),
    image: imageSizeSchema,
    coordinates: boxConventionSchema,
    usage: answerFields.usage,
    timings: answerFields.timings,
    notices: answerFields.notices,
  })
  .refine(boxesInsideImage, BOXES_INSIDE_IMAGE)
  .meta({ title: 'Locations' });

export const snapshotDataSchema = z
  .strictObject({
    contentType: z.literal('image/jpeg'),
    jpeg: z.base64().meta({ title: 'JPEG', description: 'The file in Base64' }),
    image: imageSizeSchema.meta({ title: 'Size', description: 'Of this JPEG, which may be smaller than the frame' }),
  })
  .meta({ title: 'Snapshot' });

const foundFrameSchema = z
  .strictObject({
    ...frameProvenance,
    frameRun: z.string().min(1).meta({
      title: 'Run of the frame',
      description: 'Frame ids begin again when a device restarts; with the run one is unique',
    }),
    image: imageSizeSchema,
    description: z.string().meta({ title: 'Description', description: 'What was said of it' }),
    score: z.number().meta({ title: 'Score', description: 'More is better; comparable within one response' }),
    thumbnail: z.string().nullable().meta({
      title: 'Thumbnail',
      description: 'Path of a small JPEG on the device’s console; null: the picture is not kept',
    }),
  })
  .meta({ title: 'Found frame' });

export const foundDataSchema = z
  .strictObject({
    frames: z.array(foundFrameSchema).meta({ title: 'Frames', description: 'The best first' }),
    rankedBy: z.enum(['likelihood', 'words']).meta({
      title: 'Ranked by',
      description:
        'likelihood: the model looked at the pictures; the score is a natural logarithm for each token, above 0 where a picture makes the text more probable. words: by the descriptions alone; the score is BM25',
    }),
    looked: z.int().min(0).meta({ title: 'Looked', description: 'Pictures that the model looked at' }),
    model: modelSchema.optional().meta({ title: 'Model', description: 'That ranked them' }),
    notices: answerFields.notices,
  })
  .meta({ title: 'Found frames' });
/** `data` of the response to `find`. */
export type FoundData = z.infer<typeof foundDataSchema>;

export const healthDataSchema = z.strictObject(healthFields).meta({ title: 'Health' });
export const watchDataSchema = z.strictObject({ watch: watchReportSchema }).meta({ title: 'One watch' });
export const watchRemovedDataSchema = z.strictObject({ id: identifierSchema }).meta({ title: 'Removed watch' });
export const watchListDataSchema = z
  .strictObject({ watches: z.array(watchReportSchema) })
  .meta({ title: 'Every watch' });

const ok = { status: z.literal('ok') };
/** A model wrote it. */
function modelResponse<Verb extends string, Data extends z.ZodType>(verb: Verb, data: Data) {
  return z.strictObject({ ...responseFields, verb: z.literal(verb), ...ok, ...provenance, data });
}
/** No model had a part in it. */
function plainResponse<Verb extends string, Data extends z.ZodType>(verb: Verb, data: Data) {
  return z.strictObject({ ...responseFields, verb: z.literal(verb), ...ok, data });
}

/** The ok response of each verb. */
export const okResponseSchemas = {
  ask: modelResponse('ask', answerDataSchema),
  describe: modelResponse('describe', descriptionDataSchema),
  locate: modelResponse('locate', locationDataSchema),
  snapshot: z.strictObject({
    ...responseFields,
    verb: z.literal('snapshot'),
    ...ok,
    ...frameProvenance,
    data: snapshotDataSchema,
  }),
  find: plainResponse('find', foundDataSchema),
  health: plainResponse('health', healthDataSchema),
  'watch/add': plainResponse('watch/add', watchDataSchema),
  'watch/change': plainResponse('watch/change', watchDataSchema),
  'watch/remove': plainResponse('watch/remove', watchRemovedDataSchema),
  'watch/list': plainResponse('watch/list', watchListDataSchema),
} as const;

/** A refusal or a failure, of any verb. */
export const errorResponseSchema = z
  .strictObject({ ...responseFields, verb: anyVerb, status: z.literal('error'), error: errorSchema })
  .meta({ title: 'Refusal or failure' });
/** Payload of a response that refuses or failed. */
export type ErrorResponse = z.infer<typeof errorResponseSchema>;

/** A piece of an answer to a request with `stream`. */
export const partialResponseSchema = z
  .strictObject({
    ...responseFields,
    verb: z.enum(['ask', 'describe']),
    status: z.literal('partial'),
    data: z.strictObject({
      index: z.int().min(0).meta({ title: 'Index', description: 'Counts the pieces of one answer from 0' }),
      text: z.string().min(1).meta({ title: 'Text', description: 'Follows the piece before' }),
    }),
  })
  .meta({ title: 'Piece of an answer', description: 'Only with `stream`. The ok response holds the whole text' });
/** Payload of a piece of an answer. */
export type PartialResponse = z.infer<typeof partialResponseSchema>;

/** A device of a group has taken a request that named `group`. */
export const acceptedResponseSchema = z
  .strictObject({ ...responseFields, verb: z.enum(['ask', 'describe', 'locate']), status: z.literal('accepted') })
  .meta({
    title: 'Request taken',
    description: 'Only for requests to a group that have the field `group.attempt`: this device will answer',
  });
/** Payload of the notice that a device of a group has taken a request. */
export type AcceptedResponse = z.infer<typeof acceptedResponseSchema>;

/** The answer to a request, by its verb. */
export const okResponseSchema = z.discriminatedUnion('verb', [
  okResponseSchemas.ask,
  okResponseSchemas.describe,
  okResponseSchemas.locate,
  okResponseSchemas.snapshot,
  okResponseSchemas.find,
  okResponseSchemas.health,
  okResponseSchemas['watch/add'],
  okResponseSchemas['watch/change'],
  okResponseSchemas['watch/remove'],
  okResponseSchemas['watch/list'],
]);
/** Payload of a response that answers. */
export type OkResponse = z.infer<typeof okResponseSchema>;

/** Everything that goes to a response topic. */
export const responseSchema = z
  .discriminatedUnion('status', [okResponseSchema, errorResponseSchema, partialResponseSchema, acceptedResponseSchema])
  .meta({ title: 'Response', description: 'To the caller’s response topic, else to response/<verb>. Not retained' });
/** Payload of any response. */
export type Response = z.infer<typeof responseSchema>;
