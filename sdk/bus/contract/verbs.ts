/** Every verb of `request/<verb>`: what is asked with it, and what a device answers. */
import type { z } from 'zod';
import {
  askRequestSchema,
  describeRequestSchema,
  findRequestSchema,
  healthRequestSchema,
  locateRequestSchema,
  okResponseSchemas,
  type SchemaName,
  snapshotRequestSchema,
  watchAddRequestSchema,
  watchChangeRequestSchema,
  watchListRequestSchema,
  watchRemoveRequestSchema,
} from './schemas/index.js';

interface VerbContract {
  readonly summary: string;
  /** Name of the request in `busSchemas`. */
  readonly requestName: SchemaName;
  readonly request: z.ZodType;
  /** The ok response. */
  readonly response: z.ZodType;
}

export const VERBS = {
  ask: {
    summary: 'A question about what a camera sees, answered with evidence',
    requestName: 'ask',
    request: askRequestSchema,
    response: okResponseSchemas.ask,
  },
  describe: {
    summary: 'A description of what a camera sees, now',
    requestName: 'describe',
    request: describeRequestSchema,
    response: okResponseSchemas.describe,
  },
  locate: {
    summary: 'Boxes of objects by their names',
    requestName: 'locate',
    request: locateRequestSchema,
    response: okResponseSchemas.locate,
  },
  snapshot: {
    summary: 'The picture itself, where the device allows it',
    requestName: 'snapshot',
    request: snapshotRequestSchema,
    response: okResponseSchemas.snapshot,
  },
  find: {
    summary: 'Kept frames of what is described',
    requestName: 'find',
    request: findRequestSchema,
    response: okResponseSchemas.find,
  },
  health: {
    summary: 'The state of the device, now',
    requestName: 'healthRequest',
    request: healthRequestSchema,
    response: okResponseSchemas.health,
  },
  'watch/add': {
    summary: 'A standing question is added',
    requestName: 'watchAdd',
    request: watchAddRequestSchema,
    response: okResponseSchemas['watch/add'],
  },
  'watch/change': {
    summary: 'Fields of a standing question are changed',
    requestName: 'watchChange',
    request: watchChangeRequestSchema,
    response: okResponseSchemas['watch/change'],
  },
  'watch/remove': {
    summary: 'A standing question is taken away',
    requestName: 'watchRemove',
    request: watchRemoveRequestSchema,
    response: okResponseSchemas['watch/remove'],
  },
  'watch/list': {
    summary: 'Every standing question and how it stands',
    requestName: 'watchList',
    request: watchListRequestSchema,
    response: okResponseSchemas['watch/list'],
  },
} as const satisfies Record<string, VerbContract>;

export type VerbName = keyof typeof VERBS;
/** The request of a verb, as a handler gets it. */
export type RequestOf<Verb extends VerbName> = z.output<(typeof VERBS)[Verb]['request']>;
/** The ok response to a verb, as a caller gets it. */
export type ResponseOf<Verb extends VerbName> = z.output<(typeof VERBS)[Verb]['response']>;

export const VERB_NAMES = Object.keys(VERBS) as readonly VerbName[];

/** The name comes from a topic: `constructor` and the like are no verbs. */
export function isVerbName(name: string): name is VerbName {
  return Object.hasOwn(VERBS, name);
}
