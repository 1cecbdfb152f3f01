/** What a device says about a camera: its state, and what the model sees. */
import { z } from 'zod';
import {
  answerFields,
  BOXES_INSIDE_IMAGE,
  boxesInsideImage,
  envelope,
  imageSizeSchema,
  provenance,
  SCHEMA_IDS,
  topicSegmentSchema,
} from './common.js';

export const cameraStatusSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.cameraStatus),
    camera: topicSegmentSchema,
    state: z.enum(['starting', 'running', 'reconnecting', 'stalled', 'ended', 'failed', 'stopped']).meta({
      title: 'State',
      description:
        'stalled: open, but no frame comes; reconnecting: being opened again; ended: a clip is over; failed: given up',
    }),
    frameId: z.string().nullable().meta({ title: 'Last frame', description: 'null before the first' }),
    frameTs: z.iso.datetime({ precision: 3 }).nullable().meta({ title: 'Time of the last frame' }),
    lastFrameAgeMs: z.number().min(0).nullable().meta({ title: 'Age of the last frame at ts' }),
    image: imageSizeSchema.nullable(),
    framesPerSecond: z.number().min(0).nullable(),
    reason: z
      .strictObject({ code: z.string(), message: z.string() })
      .nullable()
      .meta({ title: 'Reason', description: 'Why the camera is not running' }),
  })
  .meta({ title: 'Camera status', description: 'Retained' });
export type CameraStatusPayload = z.infer<typeof cameraStatusSchema>;

export const sceneSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.scene),
    ...provenance,
    camera: topicSegmentSchema,
    ...answerFields,
    trigger: z.enum(['first', 'change', 'interval', 'manual']).optional().meta({
      title: 'Trigger',
      description: 'Why the model looked: the scene changed, the longest silence was over …',
    }),
    expiresTs: z.iso
      .datetime({ precision: 3 })
      .meta({ title: 'Expires', description: 'After this the description is stale; MQTT 5 brokers then delete it' }),
  })
  .refine(boxesInsideImage, BOXES_INSIDE_IMAGE)
  .meta({ title: 'Scene', description: 'The latest description of what a camera sees. Retained, with message expiry' });
export type Scene = z.infer<typeof sceneSchema>;
