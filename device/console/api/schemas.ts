/** What crosses the HTTP API, both ways. The page takes its types from here. */
import { z } from 'zod';
import { MIN_PASSWORD_LENGTH } from '../../config/load.js';
import { ROLES, roleSchema } from '../access/roles.js';

export const errorSchema = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string() }),
});

/** Ids are only ever compared with ids that exist; what they may be made of bounds what is compared. */
export const idSchema = z.string().min(1).max(200);
const id = idSchema;
export const cameraParams = z.strictObject({ camera: id });
export const frameParams = z.strictObject({ frame: id });
export const tokenParams = z.strictObject({ token: id });
export const roleParams = z.strictObject({ role: roleSchema });

export const signInSchema = z.union([
  z.strictObject({ token: z.string().min(1).max(200) }),
  z.strictObject({ role: roleSchema, password: z.string().min(1).max(1_024) }),
]);

export const sessionSchema = z.strictObject({
  role: roleSchema.nullable(),
  /** For the header x-scenebus-csrf. */
  csrf: z.string().nullable(),
  /** Roles that have a password. */
  passwords: z.array(roleSchema),
  device: z.string(),
});
export type SessionInfo = z.infer<typeof sessionSchema>;

export const passwordSchema = z.strictObject({
  password: z.string().min(MIN_PASSWORD_LENGTH, `Expected at least ${MIN_PASSWORD_LENGTH} characters`).max(1_024),
});

export const newTokenSchema = z.strictObject({ name: z.string().min(1).max(64), role: z.enum(ROLES) });
const tokenInfo = z.strictObject({ id: z.string(), name: z.string(), role: roleSchema, createdAtMs: z.number() });
export const tokensSchema = z.strictObject({ tokens: z.array(tokenInfo) });
export const madeTokenSchema = z.strictObject({ secret: z.string(), token: tokenInfo });
export type TokenList = z.infer<typeof tokensSchema>;
export type MadeToken = z.infer<typeof madeTokenSchema>;

export const lampSchema = z.strictObject({
  state: z.enum(['good', 'waiting', 'bad']),
  /** In plain words, for whoever stands in front of the device. */
  reason: z.string(),
  /** What to do; null: nothing. */
  remedy: z.string().nullable(),
  /** What the part itself said; null: nothing more. */
  detail: z.string().nullable(),
});
export type Lamp = z.infer<typeof lampSchema>;

const cameraState = z.strictObject({
  id: z.string(),
  /** As on the bus: running, stalled, reconnecting, ended … */
  state: z.string(),
  image: z.strictObject({ width: z.number(), height: z.number() }).nullable(),
  framesPerSecond: z.number().nullable(),
  lastFrameAgeMs: z.number().nullable(),
  /** Its privacy is on: nobody sees it. */
  isPrivate: z.boolean(),
  /** Parts of its picture that nobody sees: corners from 0 to 1. */
  masks: z.array(z.array(z.strictObject({ x: z.number(), y: z.number() }))),
  lamp: lampSchema,
});

export const stateSchema = z.strictObject({
  device: z.string(),
  lamps: z.strictObject({ camera: lampSchema, model: lampSchema, broker: lampSchema }),
  cameras: z.array(cameraState),
  problems: z.array(
    z.strictObject({
      part: z.string(),
      code: z.string(),
      message: z.string(),
      /** In plain words. */
      reason: z.string(),
      remedy: z.string(),
    }),
  ),
});
export type DeviceState = z.infer<typeof stateSchema>;
export type CameraState = z.infer<typeof cameraState>;

const box = z.strictObject({ x1: z.number(), y1: z.number(), x2: z.number(), y2: z.number() });
export const frameReference = z.looseObject({
  id: z.string(),
  capturedAtMs: z.number(),
  width: z.number(),
  height: z.number(),
});
export type FrameInfo = z.infer<typeof frameReference>;
export const groundedObject = z.looseObject({
  label: z.string(),
  box,
  score: z.number(),
  source: z.string(),
  /** What the model said of the cut-out alone; left out: it was not asked. */
  verified: z.boolean().optional(),
  trackId: z.number().optional(),
});
export type GroundedBox = z.infer<typeof groundedObject>;

const KINDS = ['scene', 'answer', 'watch', 'status', 'problem'] as const;

export const eventSchema = z.strictObject({
  id: z.string(),
  run: z.string(),
  kind: z.enum(KINDS),
  atMs: z.number(),
  camera: z.string().nullable(),
  frame: frameReference.nullable(),
  body: z.record(z.string(), z.unknown()),
});
export type TimelineEvent = z.infer<typeof eventSchema>;

const filters = {
  /** One or several, separated by commas. */
  kinds: z
    .string()
    .max(100)
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(KINDS)).min(1).max(KINDS.length))
    .optional(),
  camera: id.optional(),
  from: z.coerce.number().min(0).max(1e15).optional(),
  to: z.coerce.number().min(0).max(1e15).optional(),
  text: z.string().min(1).max(500).optional(),
};
export const timelineQuery = z.strictObject({
  ...filters,
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, 'Expected the cursor of an earlier page')
    .optional(),
});
export const exportQuery = z.strictObject(filters);
/** Only answers are in a data set. */
export const dataSetQuery = exportQuery.omit({ kinds: true });
export const timelineSchema = z.strictObject({ events: z.array(eventSchema), cursor: z.string().nullable() });
export type TimelinePage = z.infer<typeof timelineSchema>;

export const frameQuery = z.strictObject({
  run: id.optional(),
  camera: id.optional(),
  /** At most 320 pixels wide, for lists; without it as it was kept. */
  size: z.literal('thumbnail').optional(),
});

export const pictureSchema = z.strictObject({ id: z.string(), width: z.number(), height: z.number() });
export type Picture = z.infer<typeof pictureSchema>;

export const logLineSchema = z.strictObject({
  seq: z.number(),
  atMs: z.number(),
  level: z.enum(['debug', 'info', 'warn', 'error']),
  message: z.string(),
});
export const logSchema = z.strictObject({ lines: z.array(logLineSchema) });
export type LogLine = z.infer<typeof logLineSchema>;

export const deviceSchema = z.strictObject({
  device: z.string(),
  versions: z.record(z.string(), z.string()),
  model: z.record(z.string(), z.unknown()).nullable(),
  /** "Built with Llama", where the model is one. */
  attribution: z.string().nullable(),
  presets: z.array(z.string()),
});
export type DeviceInfo = z.infer<typeof deviceSchema>;
export const doctorSchema = z.strictObject({
  findings: z.array(
    z.strictObject({
      id: z.string(),
      title: z.string(),
      status: z.enum(['ok', 'absent', 'problem']),
      value: z.string(),
      meaning: z.string().optional(),
      remedy: z.string().optional(),
    }),
  ),
});
export type DoctorReport = z.infer<typeof doctorSchema>;
