/** Tokens that probably come next, copied from a text in which the same tokens came before. */
export interface Draft {
  readonly tokens: readonly number[];
  /** How many tokens before the draft agree with those before the place it was copied from; tells how sure it is. */
  readonly matched: number;
}

/** Guesses what a model will write. A wrong guess costs time, never correctness: the model verifies every token. */
export interface Drafter {
  /** A token that the model chose. */
  accept(id: number): void;
  /** At most `most` tokens; undefined where it has no idea. */
  propose(most: number): Draft | undefined;
}

/** Agreement beyond this says nothing more. */
export const LONGEST_MATCH = 16;

/** Length of the longest common end of `a[0, aEnd)` and `b[0, bEnd)`, at most LONGEST_MATCH. */
export function commonEnd(a: ArrayLike<number>, aEnd: number, b: ArrayLike<number>, bEnd: number): number {
  const most = Math.min(LONGEST_MATCH, aEnd, bEnd);
  let length = 0;
  while (length < most && a[aEnd - 1 - length] === b[bEnd - 1 - length]) length++;
  return length;
}
