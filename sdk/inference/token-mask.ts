/** Restricts what may come next: a grammar, a schema. */
export interface TokenMask {
  /** Sets the logits of tokens that may not come now to -Infinity. Called again for the same place when a row comes again. */
  apply(logits: Float32Array): void;
  /** The token that was chosen, the one that ends the text included. */
  accept(id: number): void;
  /** How many of these tokens may come one after the other; left out: all. Guesses beyond are not verified. */
  countAllowed?(ids: readonly number[]): number;
}

/** Whether a mask left nothing to choose from. */
export function isDeadEnd(logits: Float32Array): boolean {
  for (let id = 0; id < logits.length; id++) if (logits[id]! > Number.NEGATIVE_INFINITY) return false;
  return true;
}
