import type { CallOptions, Frame, GroundedObject } from '../core/types.js';

/** A piece of the answer's text and how probable the model found the token that wrote it. */
export interface WrittenToken {
  /** UTF-16 offsets in the answer's text; equal when the token only began a character. */
  readonly start: number;
  readonly end: number;
  /** Natural logarithm of the token's probability before temperature and top-p. */
  readonly logProbability: number;
}

export interface GroundingRequest {
  /** What the model answered. */
  readonly text: string;
  /** The picture that it answered about, as it came from the camera. */
  readonly image: Pick<Frame, 'width' | 'height' | 'format' | 'data'>;
  /** Empty when the backend gives no probabilities. */
  readonly tokens: readonly WrittenToken[];
}

/** Finds where in the picture the things are that an answer speaks of. Never changes the answer's text. */
export interface Grounder {
  readonly source: GroundedObject['source'];
  ground(request: GroundingRequest, options?: CallOptions): Promise<readonly GroundedObject[]>;
}
