/** Something that is computed in one sequence, piece by piece, and can be left and taken up between any two. */
import type { AttentionRequest, PlacedImage, Sequence, SliceResult } from '../engine/engine.js';

/** What has to be computed next, behind what is in the sequence. */
export interface WantedTokens {
  readonly tokens: Int32Array;
  readonly logits: 'none' | 'last' | 'all';
  readonly attention?: AttentionRequest | undefined;
  /** Lengths of the alternatives that the tokens are: see `SliceOptions`. */
  readonly branches?: readonly number[] | undefined;
}

/** Where it is computed, and from what on. */
export interface TaskPlace {
  readonly sequence: Sequence;
  /** Prompt tokens that are not in the sequence yet; at least one. */
  readonly tokens: Int32Array;
  /** All images of the whole sequence. */
  readonly images: readonly PlacedImage[];
  /** The prompt is computed in pieces of at most so many tokens. Default: at once. */
  readonly sliceTokens?: number | undefined;
  /** Called with every token that has entered the sequence for good, the prompt's included. */
  readonly onForward: (tokens: Int32Array) => void;
  /** Called with how many tokens of the sequence take memory, where those are more than enter it for good. */
  readonly onTouch?: ((tokens: number) => void) | undefined;
}

/** It never calls the engine, so whoever does can serve many. */
export interface SequenceTask<Output> {
  readonly sequence: Sequence;
  readonly images: readonly PlacedImage[];
  /** The whole result, once there is one. */
  readonly output: Output | undefined;
  /** What to compute next; undefined: nothing, `advance` goes on by itself, or all is done. */
  readonly wanted: WantedTokens | undefined;
  /** Certain tokens that have not entered the sequence. */
  readonly pending: Int32Array;
  /** Takes what was computed of `wanted`. */
  accept(wanted: WantedTokens, result: SliceResult, elapsedMs: number): void;
  advance(): void;
  /** Takes out of the sequence what was only tried. */
  end(): void;
  /** Goes on in another sequence, when the one it had was given away. */
  moveTo(sequence: Sequence, images: readonly PlacedImage[], tokens: Int32Array): void;
}
