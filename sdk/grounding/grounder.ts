import type { CallOptions, Frame, GroundedObject } from '../core/types.js';
import type { WrittenToken } from '../text/written-token.js';
import type { Attended } from './attention/attention-map.js';

/** Takes a picture (a cut-out of the frame, as a rule) and a label. 0–1. Costs one picture and one prompt. */
export type Judge = (image: GroundingRequest['image'], label: string) => Promise<number>;

/**
 * Where heads of the model look in a picture when it has read a question about it, before it answers. Costs one prompt,
 * and the picture's encoding where that is not kept.
 */
export type Attend = (
  image: GroundingRequest['image'],
  question: string,
  heads: readonly { readonly layer: number; readonly head: number }[],
  options?: CallOptions,
) => Promise<Attended>;

/** An answer, and the picture it is about. */
export interface GroundingRequest {
  /** What the model answered. */
  readonly text: string;
  /** The picture that it answered about, as it came from the camera. */
  readonly image: Pick<Frame, 'width' | 'height' | 'format' | 'data'>;
  /** Empty when the backend gives no probabilities. */
  readonly tokens: readonly WrittenToken[];
  /** What was asked: the text of the last turn of the user. */
  readonly question?: string | undefined;
  /** Asks the model, by itself, whether a picture shows something of that name; the probability of yes. */
  readonly judge?: Judge | undefined;
  /**
   * Asks the model about the cut-out of each box, at most 16: the objects with `verified`, and scores that take its answers
   * into account. For a grounder that lets the model decide among its boxes; their scores are the grounder's own, 0–1.
   */
  readonly verify?: ((objects: readonly GroundedObject[]) => Promise<readonly GroundedObject[]>) | undefined;
  /** Where the backend hands out attention. */
  readonly attend?: Attend | undefined;
}

/** Finds where in the picture the things are that an answer speaks of. Never changes the answer's text. */
export interface Grounder {
  readonly source: GroundedObject['source'];
  /**
   * What the answer to a question about a picture must be for this grounder to find boxes in it: a JSON Schema that the
   * model is held to while it writes. undefined: any answer. Asked only where the caller has no schema.
   */
  readonly answerSchema?: ((question: string) => Readonly<Record<string, unknown>> | undefined) | undefined;
  ground(request: GroundingRequest, options?: CallOptions): Promise<readonly GroundedObject[]>;
}
