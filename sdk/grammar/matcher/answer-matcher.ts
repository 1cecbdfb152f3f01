/** One answer under a grammar: what may come next, token by token. */
import type { MatchState } from './machine.js';
import type { TokenGrammar } from './token-grammar.js';

export class AnswerMatcher {
  readonly #grammar: TokenGrammar;
  readonly #endIds: readonly number[];
  #state: MatchState;
  #ended = false;

  /** @param endIds tokens that end an answer; allowed where it is whole */
  constructor(grammar: TokenGrammar, endIds: Iterable<number>) {
    this.#grammar = grammar;
    this.#endIds = [...endIds];
    this.#state = grammar.start;
  }

  /** What was written is a whole answer; perhaps a longer one is possible. */
  get isWhole(): boolean {
    return this.#state.isFinal;
  }

  /** Whether a token may come. */
  allows(token: number): boolean {
    if (this.#ended) return false;
    if (this.#endIds.includes(token)) return this.#state.isFinal;
    const mask = this.#grammar.maskOf(this.#state);
    return ((mask[token >> 5] ?? 0) & (1 << (token & 31))) !== 0;
  }

  /** How many of these tokens, one after the other, may come: what a draft is worth. */
  countAllowed(tokens: ArrayLike<number>): number {
    let state: MatchState | null = this.#state;
    for (let i = 0; i < tokens.length; i++) {
      if (this.#endIds.includes(tokens[i]!)) return state.isFinal ? i + 1 : i;
      state = this.#grammar.after(state, tokens[i]!);
      if (state === null) return i;
    }
    return tokens.length;
  }

  /**
   * Sets the logits of tokens that may not come to -Infinity.
   * @param logits [vocabularySize] or longer; what is beyond the vocabulary is excluded too
   * @returns whether any token is left
   */
  apply(logits: Float32Array): boolean {
    const ends = this.#endIds.map((id) => logits[id]);
    let left = false;
    const mask = this.#ended ? undefined : this.#grammar.maskOf(this.#state);
    for (let word = 0, base = 0; base < logits.length; word++, base += 32) {
      const bits = mask?.[word] ?? 0;
      if (bits === 0) {
        // Most masks are empty over long stretches.
        const from = base;
        while (base + 32 < logits.length && (mask?.[word + 1] ?? 0) === 0) {
          word++;
          base += 32;
        }
        logits.fill(Number.NEGATIVE_INFINITY, from, base + 32);
        continue;
      }
      left = true;
      if (bits === 0xffffffff) continue;
      const end = Math.min(base + 32, logits.length);
      for (let id = base; id < end; id++) if ((bits & (1 << (id & 31))) === 0) logits[id] = Number.NEGATIVE_INFINITY;
    }
    if (!this.#state.isFinal || this.#ended) return left;
    for (const [i, id] of this.#endIds.entries()) {
      if (id < logits.length) {
        logits[id] = ends[i]!;
        left = true;
      }
    }
    return left;
  }

  /** @returns false, and nothing changes, for a token that may not come */
  accept(token: number): boolean {
    if (this.#ended) return false;
    if (this.#endIds.includes(token)) {
      if (!this.#state.isFinal) return false;
      this.#ended = true;
      return true;
    }
    const next = this.#grammar.after(this.#state, token);
    if (next === null) return false;
    this.#state = next;
    return true;
  }
}

/** Whether a text is of the grammar, by bytes. */
export function matchesText(grammar: TokenGrammar, text: string): boolean {
  let state: MatchState | null = grammar.start;
  for (const byte of new TextEncoder().encode(text)) {
    state = state.step(byte);
    if (state === null) return false;
  }
  return state.isFinal;
}
