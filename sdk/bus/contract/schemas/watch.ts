/** Watches: standing questions, what they find, and how they stand. */
import { z } from 'zod';
import {
  answerTypeSchema,
  answerValueSchema,
  BOXES_INSIDE_IMAGE,
  boxConventionSchema,
  boxesInsideImage,
  CHOICES_FIT,
  choicesFit,
  choicesSchema,
  envelope,
  identifierSchema,
  imageSizeSchema,
  instant,
  objectSchema,
  provenance,
  questionSchema,
  SCHEMA_IDS,
  topicSegmentSchema,
  unit,
} from './common.js';

const timeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'Expected a time of day like 07:30');

const watchFields = {
  question: questionSchema,
  cameras: z
    .array(topicSegmentSchema)
    .min(1)
    .max(16)
    .optional()
    .meta({ title: 'Cameras', description: 'Ids; left out: every camera of the device' }),
  answerType: answerTypeSchema,
  choices: choicesSchema.optional(),
  intervalSeconds: z
    .number()
    .min(0.1)
    .max(86_400)
    .optional()
    .meta({ title: 'Interval, seconds', description: 'Left out: asked whenever the scene has changed' }),
  agree: z
    .strictObject({ count: z.int().min(1).max(20), of: z.int().min(1).max(20) })
    .refine(({ count, of }) => count <= of, { error: 'Expected count ≤ of' })
    .optional()
    .meta({
      title: 'Hysteresis',
      description: 'A new value counts when `count` of the last `of` answers agree; left out: 1 of 1',
    }),
  minProbability: unit
    .optional()
    .meta({ title: 'Least probability', description: 'Answers below it change nothing; left out: 0.5' }),
  quietSeconds: z
    .number()
    .min(0)
    .max(86_400)
    .optional()
    .meta({ title: 'Quiet time, seconds', description: 'Least pause between two events of a camera; left out: 0' }),
  schedule: z
    .array(
      z.strictObject({
        days: z
          .array(z.enum(['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']))
          .min(1)
          .max(7)
          .optional(),
        from: timeOfDay,
        to: timeOfDay,
      }),
    )
    .min(1)
    .max(16)
    .optional()
    .meta({
      title: 'Hours',
      description: 'In the local time of the device; `to` before `from` reaches into the next day. Left out: always',
    }),
  region: z
    .array(z.tuple([unit, unit]))
    .min(3)
    .max(32)
    .optional()
    .meta({ title: 'Region', description: 'Corners x, y of a polygon, normalised to the frame; left out: all of it' }),
  verify: z.boolean().optional().meta({
    title: 'Verify',
    description:
      'true: the model is asked about the cut-out of each box of an event, at most 16; each takes as long as a question about a new picture. Left out: as the device has it for questions',
  }),
  enabled: z.boolean().optional().meta({ title: 'Enabled', description: 'Left out: true' }),
};

/** A standing question: what is asked, where, when, and when a new value counts. */
export const watchDefinitionSchema = z
  .strictObject({ id: identifierSchema.meta({ title: 'Watch', description: 'Its name in topics' }), ...watchFields })
  .refine(choicesFit, CHOICES_FIT)
  .meta({ title: 'Watch', description: 'A standing question' });
/** A standing question. */
export type WatchDefinition = z.infer<typeof watchDefinitionSchema>;

/** Fields of a watch that can be changed; null takes an optional one away. */
export const watchChangesSchema = z
  .strictObject({
    question: watchFields.question.optional(),
    cameras: watchFields.cameras.nullable(),
    answerType: watchFields.answerType.optional(),
    choices: watchFields.choices.nullable(),
    intervalSeconds: watchFields.intervalSeconds.nullable(),
    agree: watchFields.agree.nullable(),
    minProbability: watchFields.minProbability.nullable(),
    quietSeconds: watchFields.quietSeconds.nullable(),
    schedule: watchFields.schedule.nullable(),
    region: watchFields.region.nullable(),
    verify: watchFields.verify.nullable(),
    enabled: watchFields.enabled,
  })
  .meta({ title: 'Changes', description: 'What is left out stays; null takes an optional field away' });
/** What is left out stays; null takes an optional field away. */
export type WatchChanges = z.infer<typeof watchChangesSchema>;

/** How a watch stands at one camera. */
const watchFindingFields = {
  value: answerValueSchema.nullable().meta({ title: 'Value', description: 'null before the first answer' }),
  probability: unit
    .nullable()
    .meta({ title: 'Probability', description: 'Of the value; null where none was measured' }),
  eventId: z.string().min(1).nullable().meta({ title: 'Event', description: 'The event that lasts; null: none does' }),
};

/** A watch, where it comes from and how it stands at each camera. */
export const watchReportSchema = z
  .strictObject({
    watch: watchDefinitionSchema,
    origin: z
      .enum(['config', 'bus'])
      .meta({ title: 'Origin', description: 'config: from the file; bus: added by a caller' }),
    cameras: z.array(z.strictObject({ camera: topicSegmentSchema, ...watchFindingFields })),
  })
  .meta({ title: 'Watch report', description: 'A watch and how it stands' });
/** A watch and how it stands. */
export type WatchReport = z.infer<typeof watchReportSchema>;

/** How a watch stands at one camera. Retained. */
export const watchStateSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.watchState),
    ...provenance,
    camera: topicSegmentSchema,
    watch: identifierSchema,
    question: questionSchema,
    answerType: answerTypeSchema,
    ...watchFindingFields,
    sinceTs: instant.meta({ title: 'Since', description: 'When the value became this one' }),
  })
  .meta({ title: 'Watch state', description: 'How a watch stands at a camera. Retained' });
/** Payload of `camera/<id>/watch/<watch>/state`. */
export type WatchState = z.infer<typeof watchStateSchema>;

/** A watch found something new, something else, or the end of it. */
export const eventSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.event),
    ...provenance,
    camera: topicSegmentSchema,
    watch: identifierSchema,
    eventId: z
      .string()
      .min(1)
      .max(128)
      .meta({ title: 'Event', description: 'The same in new, update and end of one event' }),
    type: z.enum(['new', 'update', 'end']).meta({
      title: 'Type',
      description: 'new: something began; update: the value changed while it lasts; end: it is over',
    }),
    question: questionSchema,
    answerType: answerTypeSchema,
    value: answerValueSchema,
    previous: answerValueSchema.nullable().meta({ title: 'Previous value', description: 'null before the first' }),
    probability: watchFindingFields.probability,
    startedTs: instant.meta({ title: 'Start', description: 'When the event began' }),
    image: imageSizeSchema,
    coordinates: boxConventionSchema,
    evidence: z
      .strictObject({
        text: z.string().optional().meta({ title: 'Text', description: 'What the model wrote, where it wrote' }),
        objects: z.array(objectSchema),
      })
      .meta({ title: 'Evidence', description: 'What the value rests on' }),
    repeated: z.literal(true).optional().meta({
      title: 'Repeated',
      description: 'It may have come before: the device was stopped before the broker acknowledged it',
    }),
  })
  .refine((event) => boxesInsideImage({ objects: event.evidence.objects, image: event.image }), {
    ...BOXES_INSIDE_IMAGE,
    path: ['evidence', 'objects'],
  })
  .meta({ title: 'Event', description: 'A watch found something new. Not retained, with message expiry' });
/** Payload of `camera/<id>/event`. */
export type WatchEvent = z.infer<typeof eventSchema>;
