/** What makes tokens less likely because they were there before. In the order and the words of transformers and vLLM. */
import type { TokenMask } from './token-mask.js';

export interface PenaltyOptions {
  /** Logits of tokens in prompt and answer: divided by this where positive, multiplied where negative; 1: off. */
  readonly repetitionPenalty: number;
  /** Taken from the logits of tokens in the answer; 0: off. */
  readonly presencePenalty: number;
  /** Taken from the logits of tokens in the answer, for each time they are there; 0: off. */
  readonly frequencyPenalty: number;
  /** No sequence of so many tokens comes twice in prompt and answer; 0: off. */
  readonly noRepeatNgramSize: number;
}

export function hasPenalties(options: PenaltyOptions): boolean {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, noRepeatNgramSize } = options;
  return repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0 || noRepeatNgramSize > 0;
}

/**
 * How much further apart two logits may come to lie: a difference between two ways of computing a row, which
 * decides whether a call is close, grows by this.
 */
export function penaltyStretch({ repetitionPenalty }: PenaltyOptions): number {
  return Math.max(repetitionPenalty, 1 / repetitionPenalty);
}

/**
 * Penalties in front of a mask, as one mask. What it does to a row depends on the tokens accepted so far and on nothing
 * else, so drafted tokens are judged as they would be without drafts.
 */
export class Penalties implements TokenMask {
  readonly #options: PenaltyOptions;
  readonly #mask: TokenMask | undefined;
  /** Prompt and answer. */
  readonly #history: number[];
  readonly #seen: Set<number>;
  /** Tokens of the answer, and how often they are there. */
  readonly #counts = new Map<number, number>();

  /** @param mask what a grammar allows: it wins over a forbidden repetition where both together allow nothing */
  constructor(options: PenaltyOptions, prompt: ArrayLike<number>, mask?: TokenMask) {
    this.#options = options;
    this.#mask = mask;
    this.#history = Array.from(prompt);
    this.#seen = new Set(this.#history);
  }

  apply(logits: Float32Array): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#options;
    if (repetitionPenalty !== 1) {
      for (const id of this.#seen) {
        const logit = logits[id]; // the image token has no logit
        if (logit !== undefined) logits[id] = logit < 0 ? logit * repetitionPenalty : logit / repetitionPenalty;
      }
    }
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [id, count] of this.#counts) logits[id]! -= presencePenalty + frequencyPenalty * count;
    }
    this.#mask?.apply(logits);
    this.#forbidRepetition(logits);
  }

  accept(id: number): void {
    this.#mask?.accept(id);
    this.#history.push(id);
    this.#seen.add(id);
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }

  countAllowed(ids: readonly number[]): number {
    return this.#mask?.countAllowed?.(ids) ?? ids.length;
  }

  /** Forbids what followed earlier on the tokens that stand last now. */
  #forbidRepetition(logits: Float32Array): void {
    const size = this.#options.noRepeatNgramSize;
    const end = this.#history.length;
    if (size === 0 || end < size) return;
    const forbidden = new Map<number, number>();
    for (let start = 0; start + size <= end; start++) {
      let same = 0;
      while (same < size - 1 && this.#history[start + same] === this.#history[end - size + 1 + same]) same++;
      const next = this.#history[start + size - 1]!;
      if (same === size - 1 && next < logits.length) forbidden.set(next, logits[next]!);
    }
    for (const id of forbidden.keys()) logits[id] = Number.NEGATIVE_INFINITY;
    if (forbidden.size > 0 && logits.every((logit) => !(logit > Number.NEGATIVE_INFINITY))) {
      for (const [id, logit] of forbidden) logits[id] = logit;
    }
  }
}
