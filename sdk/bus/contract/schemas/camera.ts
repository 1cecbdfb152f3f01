/** What a device says about a camera: its state, and what the model sees. */
import { z } from 'zod';
import { CAMERA_SETTINGS } from '../settings.js';
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

/** State of a camera and the age of its last frame. Retained. */
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
/** Payload of `camera/<id>/status`. */
export type CameraStatusPayload = z.infer<typeof cameraStatusSchema>;

/** How a setting of a camera stands. Retained. */
export const cameraSettingSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.cameraSetting),
    camera: topicSegmentSchema,
    setting: z.enum(CAMERA_SETTINGS).meta({
      title: 'Setting',
      description:
        'describe: descriptions are made; watches: standing questions are asked; privacy: nothing is looked at',
    }),
    value: z.boolean(),
  })
  .meta({ title: 'Camera setting', description: 'As it is now; sent again after each command. Retained' });
/** Payload of `camera/<id>/<setting>/state`. */
export type CameraSettingState = z.infer<typeof cameraSettingSchema>;

/** `true`, `false` or `{ value }`, on `camera/<id>/<setting>/set`. */
export const settingCommandSchema = z
  .union([
    z.boolean(),
    z.strictObject({
      schema: z.literal(SCHEMA_IDS.settingCommand).optional(),
      value: z.boolean(),
    }),
  ])
  .meta({
    title: 'Setting command',
    description: 'true or false, or an object with the value. A retained one is refused',
  });
/** Payload of `camera/<id>/<setting>/set`. */
export type SettingCommand = z.infer<typeof settingCommandSchema>;

/** The latest description of what a camera sees. Retained, with expiry. */
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
    endedTracks: z.array(z.int().min(1)).max(256).optional().meta({
      title: 'Ended tracks',
      description:
        'Numbers of things that the camera has not seen for too long: what is like them gets a new number; absent: none',
    }),
    expiresTs: z.iso
      .datetime({ precision: 3 })
      .meta({ title: 'Expires', description: 'After this the description is stale; MQTT 5 brokers then delete it' }),
  })
  .refine(boxesInsideImage, BOXES_INSIDE_IMAGE)
  .meta({ title: 'Scene', description: 'The latest description of what a camera sees. Retained, with message expiry' });
/** Payload of `camera/<id>/scene`. */
export type Scene = z.infer<typeof sceneSchema>;
