import { commonEnd, type Draft, type Drafter, LONGEST_MATCH } from './drafter.js';

/** Above every vocabulary: two ids make one exact key. */
const KEY_BASE = 2 ** 24;

/**
 * Repetition within prompt and answer: where the last two tokens stood before, what followed them then follows again.
 * Good for lists, JSON and questions that the answer quotes.
 */
export class PromptLookupDrafter implements Drafter {
  readonly #history: number[] = [];
  /** Pair of tokens → index after its last occurrence, the end of the history left out. */
  readonly #after = new Map<number, number>();
  /** Index of the token that is expected next; undefined when nothing is known. */
  #next: number | undefined;
  #matched = 0;

  constructor(prompt: ArrayLike<number>) {
    for (let i = 0; i < prompt.length; i++) this.#append(prompt[i]!);
    this.#lookUp();
  }

  accept(id: number): void {
    const expected = this.#next !== undefined && this.#history[this.#next] === id;
    this.#append(id);
    if (expected) {
      this.#next!++;
      this.#matched = Math.min(this.#matched + 1, LONGEST_MATCH);
    } else this.#lookUp();
  }

  propose(most: number): Draft | undefined {
    if (this.#next === undefined || most < 1) return undefined;
    return { tokens: this.#history.slice(this.#next, this.#next + most), matched: this.#matched };
  }

  #append(id: number): void {
    const end = this.#history.length;
    // Registered one token late, so that the end of the history never finds itself.
    if (end >= 2) this.#after.set(this.#history[end - 2]! * KEY_BASE + this.#history[end - 1]!, end);
    this.#history.push(id);
  }

  #lookUp(): void {
    const end = this.#history.length;
    this.#next = end < 2 ? undefined : this.#after.get(this.#history[end - 2]! * KEY_BASE + this.#history[end - 1]!);
    this.#matched = this.#next === undefined ? 0 : commonEnd(this.#history, end, this.#history, this.#next);
  }
}
