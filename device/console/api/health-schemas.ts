/** What crosses the HTTP API about health: figures over time, connections, messages of the bus. */
import { z } from 'zod';

export const healthSchema = z.strictObject({
  state: z.string(),
  uptimeSeconds: z.number(),
});
export type HealthInfo = z.infer<typeof healthSchema>;

const time = z.coerce.number().min(0).max(1e15);
export const historyQuery = z
  .strictObject({
    /** Unix milliseconds. */
    from: time,
    to: time,
    /** So many spans of time at most. */
    points: z.coerce.number().int().min(1).max(1_000).default(240),
  })
  .refine(({ from, to }) => from < to, { error: 'Expected `from` before `to`', path: ['to'] });

const numbers = z.array(z.number().nullable());
export const historySchema = z.strictObject({
  /** Length of a span, milliseconds. */
  stepMs: z.number(),
  /** Starts of the spans that have figures, oldest first. */
  times: z.array(z.number()),
  /** Starts of the device, each once. */
  runs: z.array(z.string()),
  /** Of each span, as an index into `runs`. */
  run: z.array(z.number()),
  series: z.record(z.string(), z.strictObject({ least: numbers, mean: numbers, greatest: numbers })),
});
export type HealthHistory = z.infer<typeof historySchema>;

const connection = z.strictObject({
  id: z.string(),
  /** Without user name and password. */
  address: z.string(),
  kind: z.string(),
  /** What opened it; null before that. */
  backend: z.string().nullable(),
  state: z.string(),
  sinceMs: z.number(),
  attempt: z.number().nullable(),
  retryAtMs: z.number().nullable(),
  error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  image: z.strictObject({ width: z.number(), height: z.number() }).nullable(),
  /** As the source declares it. */
  framesPerSecond: z.number().nullable(),
  /** Frames that it has produced since the service started. */
  frames: z.number(),
  masks: z.number(),
  isPrivate: z.boolean(),
});
export const connectionsSchema = z.strictObject({
  cameras: z.array(connection),
  broker: z.strictObject({
    address: z.string(),
    state: z.string(),
    /** true: the device's own, because the configuration names none. */
    isEmbedded: z.boolean(),
    /** 4 is 3.1.1; null while there is no connection. */
    protocolVersion: z.number().nullable(),
    root: z.string(),
    /** Counters since the service started, by name. */
    counters: z.record(z.string(), z.number()),
  }),
});
export type Connections = z.infer<typeof connectionsSchema>;

const message = z.strictObject({
  seq: z.number(),
  atMs: z.number(),
  direction: z.enum(['sent', 'received']),
  retain: z.boolean(),
  sizeBytes: z.number(),
  text: z.string(),
  /** Of the contract; null: the topic is none of the contract's. */
  schema: z.string().nullable(),
  misses: z.array(z.strictObject({ path: z.string(), message: z.string() })),
});
export type BusMessageInfo = z.infer<typeof message>;

const topic = z.strictObject({
  topic: z.string(),
  /** What it carries, in words; null: it is none of the contract's. */
  summary: z.string().nullable(),
  count: z.number(),
  lastAtMs: z.number(),
  direction: z.enum(['sent', 'received']),
  /** null: the topic is none of the contract's. */
  schema: z.string().nullable(),
  /** Of the newest message: what misses the contract. */
  misses: z.number(),
});
const command = z.strictObject({ command: z.string().nullable(), note: z.string().nullable() });
export const topicsSchema = z.strictObject({
  root: z.string(),
  topics: z.array(topic),
  /** Messages that were counted and not kept, because there were too many in one second. */
  left: z.number(),
  /** For everything of this device. */
  subscribe: command,
});
export type TopicList = z.infer<typeof topicsSchema>;

/** Of a topic; only ever compared with topics that there are. */
export const messagesQuery = z.strictObject({ topic: z.string().min(1).max(1_024) });
export const messagesSchema = z.strictObject({
  topic: z.string(),
  /** The newest first. */
  messages: z.array(message),
  subscribe: command,
});
export type TopicMessages = z.infer<typeof messagesSchema>;
