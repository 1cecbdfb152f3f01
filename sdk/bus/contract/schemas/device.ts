/** What a device says about itself: availability, info, health. */
import { z } from 'zod';
import { envelope, errorSchema, SCHEMA_IDS, topicSegmentSchema } from './common.js';

/** Presence of a device. Retained; `offline` is its will. */
export const availabilitySchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.availability),
    state: z.enum(['online', 'stopped', 'offline']).meta({
      title: 'State',
      description: 'stopped: shut down on purpose; offline: the broker lost the device (its will)',
    }),
  })
  .meta({
    title: 'Availability',
    description: 'Retained. In an offline message `ts` is when the device connected, for the broker sends it unchanged',
  });
/** Payload of `availability`. */
export type Availability = z.infer<typeof availabilitySchema>;

/** What a device is: versions, model, cameras, verbs, limits. Retained. */
export const infoSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.info),
    versions: z
      .record(z.string(), z.string())
      .meta({ title: 'Versions', description: 'Of SceneBus and of what it runs on, for example scenebus, node' }),
    model: z
      .strictObject({
        id: z.string().min(1),
        hash: z.string().optional(),
        backend: z.string().optional(),
        weights: z.string().optional(),
        numerics: z.string().optional(),
        contextLength: z.int().min(1).optional(),
        writesBoxes: z.boolean().optional(),
      })
      .nullable()
      .meta({ title: 'Model', description: 'null until a model is loaded' }),
    cameras: z.array(topicSegmentSchema).meta({ title: 'Cameras', description: 'Ids; each has camera/<id>/…' }),
    schemas: z.array(z.string()).meta({ title: 'Schemas', description: 'Ids of the payloads that this device speaks' }),
    verbs: z.array(z.string()).meta({ title: 'Verbs', description: 'Requests that this device answers' }),
    limits: z
      .record(z.string(), z.number())
      .meta({ title: 'Limits', description: 'Ceilings for requests: requestBytes, questionCharacters, …' }),
    attribution: z.string().optional().meta({ title: 'Attribution', description: 'Notice that the licence asks for' }),
  })
  .meta({ title: 'Device information', description: 'Retained' });
/** Payload of `info`. */
export type Info = z.infer<typeof infoSchema>;

/** Asks every device to publish its availability, info and health again. */
export const rollCallSchema = z
  .strictObject({
    schema: z.literal(SCHEMA_IDS.rollCall),
    spreadMs: z.int().min(0).max(600_000).optional().meta({
      title: 'Spread, milliseconds',
      description: 'Each device answers at a random time within it, so that many do not answer at once. Default 1000',
    }),
  })
  .meta({
    title: 'Roll call',
    description:
      'Publish on `<root>/call`, not retained: finds the devices on brokers that give no retained messages to wildcards. A device answers one every two seconds',
  });
/** Payload of `<root>/call`. */
export type RollCall = z.infer<typeof rollCallSchema>;

/** Fields of health, in the state topic and in the response to `health`. */
export const healthFields = {
  state: z.enum(['starting', 'running', 'degraded', 'stopping']),
  uptimeSeconds: z.number().min(0),
  memory: z.record(z.string(), z.number()).optional().meta({ title: 'Memory', description: 'Names carry units' }),
  metrics: z
    .record(z.string(), z.number())
    .optional()
    .meta({ title: 'Metrics', description: 'Counters, rates, temperatures; names carry units' }),
  problems: z.array(errorSchema).meta({ title: 'Problems', description: 'Why the state is degraded' }),
};

/** State of the service, memory and counters. Retained. */
export const healthSchema = z
  .strictObject({ ...envelope(SCHEMA_IDS.health), ...healthFields })
  .meta({ title: 'Health', description: 'Retained' });
/** Payload of `health`. */
export type Health = z.infer<typeof healthSchema>;
