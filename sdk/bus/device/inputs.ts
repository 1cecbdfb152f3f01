/** What the service gives to be published. */
import type { GroundedObject } from '../../core/types.js';
import type { AnswerType, AnswerValue, WatchEvent } from '../contract/schemas/index.js';

export interface FrameReference {
  readonly id: string;
  /** Unix time, milliseconds. */
  readonly capturedAtMs: number;
  readonly width: number;
  readonly height: number;
}

export interface ModelReference {
  readonly id: string;
  readonly hash?: string | undefined;
}

/** What a model said about a frame. A `Frame` and an `Answer` of the SDK fit as they are. */
export interface Observation {
  readonly frame: FrameReference;
  readonly answer: {
    readonly text: string;
    /** For people, where the text is nothing but boxes in JSON. */
    readonly sentence?: string | undefined;
    readonly objects: readonly GroundedObject[];
    readonly finishReason?: 'stop' | 'length' | undefined;
    /** Only finite numbers of it are published. */
    readonly usage?: object | undefined;
    readonly timings?: object | undefined;
    /** For people, for example how old the frame is. */
    readonly notices?: readonly string[] | undefined;
    /** With an answer type or an answer schema: the answer as a JSON value. */
    readonly value?: unknown;
    /** 0–1, of `value`. */
    readonly probability?: number | undefined;
  };
  readonly model: ModelReference;
}

export interface SceneInput extends Observation {
  readonly trigger?: 'first' | 'change' | 'interval' | 'manual' | undefined;
  /** Numbers of the tracks that ended since the description before. */
  readonly endedTracks?: readonly number[] | undefined;
  /** Unix time, milliseconds, from which its life counts. Default: when it is published. */
  readonly describedAtMs?: number | undefined;
}

/** Something that a watch found, or the end of it. */
export interface EventInput {
  readonly frame: FrameReference;
  readonly model: ModelReference;
  readonly watch: string;
  /** The same in new, update and end of one event. */
  readonly eventId: string;
  readonly type: WatchEvent['type'];
  readonly question: string;
  readonly answerType: AnswerType;
  readonly value: AnswerValue;
  /** null: there was none. */
  readonly previous: AnswerValue | null;
  /** 0–1; null: not measured. */
  readonly probability: number | null;
  /** Unix time, milliseconds. */
  readonly startedAtMs: number;
  readonly evidence: { readonly text?: string | undefined; readonly objects: readonly GroundedObject[] };
  /** It may have been published before. */
  readonly repeated?: boolean | undefined;
}

/** How a watch stands at a camera. */
export interface WatchStateInput {
  readonly frame: FrameReference;
  readonly model: ModelReference;
  readonly question: string;
  readonly answerType: AnswerType;
  readonly value: AnswerValue | null;
  /** 0–1; null: not measured. */
  readonly probability: number | null;
  /** The event that lasts; null: none does. */
  readonly eventId: string | null;
  /** Unix time, milliseconds, when the value became this one. */
  readonly sinceMs: number;
}
