/** A piece of the answer's text and how probable the model found the token that wrote it. */
export interface WrittenToken {
  /** UTF-16 offsets in the answer's text; equal when the token only began a character. */
  readonly start: number;
  readonly end: number;
  /** Natural logarithm of the token's probability before temperature and top-p. */
  readonly logProbability: number;
}
