import type { CallOptions, Frame, GroundedObject } from '../core/types.js';
import type { WrittenToken } from '../text/written-token.js';

/** An answer, and the picture it is about. */
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
