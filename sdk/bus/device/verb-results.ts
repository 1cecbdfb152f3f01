/** What a device's handlers give for each verb, and how it becomes the body of an ok response. */

import type { GroundedObject } from '../../core/types.js';
import { BOX_CONVENTION } from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import type { RequestOf, ResponseOf, VerbName } from '../contract/verbs.js';
import type { FrameReference, ModelReference, Observation } from './inputs.js';
import { answerOf, frameOf, imageSizeOf, numbersOf, objectsOf, provenanceOf } from './payloads.js';

/** An answer or a description. `camera` wins over the one that the request named. */
export interface AskResult extends Observation {
  readonly camera?: string | undefined;
}

export interface LocateResult {
  readonly camera?: string | undefined;
  readonly frame: FrameReference;
  readonly model: ModelReference;
  readonly objects: readonly GroundedObject[];
  /** Names of the request without a box. */
  readonly notFound: readonly string[];
  readonly usage?: object | undefined;
  readonly timings?: object | undefined;
  readonly notices?: readonly string[] | undefined;
}

export interface SnapshotResult {
  readonly camera?: string | undefined;
  readonly frame: FrameReference;
  /** The file. */
  readonly jpeg: Uint8Array;
  /** Of the file, pixels. */
  readonly width: number;
  readonly height: number;
}

/** Results of the verbs about pictures. */
export interface PictureResults {
  ask: AskResult;
  describe: AskResult;
  locate: LocateResult;
  snapshot: SnapshotResult;
}

/** What the handler of a verb returns: for the verbs without pictures the `data` of the response. */
export type ResultOf<Verb extends VerbName> = Verb extends keyof PictureResults
  ? PictureResults[Verb]
  : ResponseOf<Verb>['data'];

export interface VerbContext {
  /** Aborted at the deadline (reason: SdkError ERR_REQUEST_EXPIRED) and when the bus closes. */
  readonly signal: AbortSignal;
  /** Unix time, milliseconds, after which nobody waits for the answer. */
  readonly deadlineMs: number;
  /** Who asks, as far as the bus can tell (its response topic): for fairness between callers. */
  readonly client: string;
  /** Sends the next piece of the text; undefined unless the caller asked for pieces (`stream`). */
  readonly partial: ((text: string) => void) | undefined;
}

/** @throws SdkError: its code and message reach the caller, and `details.retryAfterMs` with ERR_BUSY. */
export type VerbHandler<Verb extends VerbName> = (
  request: RequestOf<Verb>,
  context: VerbContext,
) => Promise<ResultOf<Verb>>;

/** @throws what makes a command impossible; the caller sees the old state again. */
export type SettingHandler = (camera: string, setting: CameraSetting, value: boolean) => Promise<void> | void;

type Encoders = { readonly [Verb in VerbName]: (result: ResultOf<Verb>, request: RequestOf<Verb>) => object };

const ENCODERS: Encoders = {
  ask: (result, request) => ({
    ...provenanceOf(result, result.camera ?? request.camera),
    data: {
      question: request.question,
      ...answerOf(result),
      ...(result.answer.value === undefined ? {} : { value: result.answer.value }),
      ...(result.answer.probability === undefined ? {} : { probability: result.answer.probability }),
    },
  }),
  describe: (result, request) => ({
    ...provenanceOf(result, result.camera ?? request.camera),
    data: answerOf(result),
  }),
  locate: (result, request) => ({
    ...provenanceOf(result, result.camera ?? request.camera),
    data: {
      objects: objectsOf(result.objects),
      notFound: [...result.notFound],
      image: imageSizeOf(result.frame),
      coordinates: BOX_CONVENTION,
      ...(result.usage === undefined ? {} : { usage: numbersOf(result.usage) }),
      ...(result.timings === undefined ? {} : { timings: numbersOf(result.timings) }),
      ...(result.notices === undefined ? {} : { notices: [...result.notices] }),
    },
  }),
  snapshot: (result, request) => ({
    ...frameOf(result.frame, result.camera ?? request.camera),
    data: {
      contentType: 'image/jpeg',
      jpeg: Buffer.from(result.jpeg).toString('base64'),
      image: { width: result.width, height: result.height },
    },
  }),
  find: (data) => ({ data }),
  health: (data) => ({ data }),
  'watch/add': (data) => ({ data }),
  'watch/change': (data) => ({ data }),
  'watch/remove': (data) => ({ data }),
  'watch/list': (data) => ({ data }),
};

/** The fields of an ok response that belong to its verb. */
export function encodeResult<Verb extends VerbName>(
  verb: Verb,
  result: ResultOf<Verb>,
  request: RequestOf<Verb>,
): object {
  return ENCODERS[verb](result, request);
}
