/**
 * Drafting, for as long as a model is loaded: remembers answers, learns which guesses come true and what verifying
 * them costs on this machine, and drafts as many tokens as that makes worth while, none where it does not pay.
 */
import { Acceptance } from './acceptance.js';
import { AnswerMemory } from './answer-memory.js';
import type { Draft, Drafter } from './drafter.js';
import { PromptLookupDrafter } from './prompt-lookup.js';
import { TemporalDrafter } from './temporal.js';
import { VerifyCost } from './verify-cost.js';

/** Numbers of drafted tokens to choose from; with the token before them they fill classes of `VerifyCost`. */
const DRAFT_LENGTHS = [1, 3, 7, 15];
const LONGEST_DRAFT = DRAFT_LENGTHS.at(-1)!;
/** What drafting must win in expectation: below, the bookkeeping and the noise of the estimate eat it. */
const MIN_GAIN = 1.05;

/** Supplies one generation with drafts. */
export interface DraftSource {
  /** A token that was chosen, drafted or not. */
  accept(id: number): void;
  /** Tokens to verify now, at most `most`; empty when plain decoding is better. */
  propose(most: number): readonly number[];
  /** A decoding call of the engine: how many it took in, and how long. */
  observe(tokens: number, elapsedMs: number): void;
}

export class Drafting {
  readonly #memory = new AnswerMemory();
  readonly #cost = new VerifyCost();
  readonly #temporal = new Acceptance((matched) => 0.95 - 0.55 / (1 + matched));
  readonly #lookup = new Acceptance((matched) => 0.9 - 0.9 / (1 + matched));

  begin(prompt: Int32Array): DraftSession {
    const sources = [
      { drafter: new TemporalDrafter(this.#memory.recall(prompt)), acceptance: this.#temporal },
      { drafter: new PromptLookupDrafter(prompt), acceptance: this.#lookup },
    ];
    return new DraftSession(sources, this.#cost, (answer) => this.#memory.remember(prompt, answer));
  }
}

export interface DraftingSource {
  readonly drafter: Drafter;
  readonly acceptance: Acceptance;
}

export class DraftSession implements DraftSource {
  readonly #sources: readonly DraftingSource[];
  readonly #cost: VerifyCost;
  readonly #remember: (answer: readonly number[]) => void;
  readonly #written: number[] = [];
  /** What each source expects next. */
  #guesses: readonly (Draft | undefined)[];

  constructor(
    sources: readonly DraftingSource[],
    cost: VerifyCost,
    remember: (answer: readonly number[]) => void = () => {},
  ) {
    this.#sources = sources;
    this.#cost = cost;
    this.#remember = remember;
    this.#guesses = this.#guess();
  }

  accept(id: number): void {
    for (const [i, { drafter, acceptance }] of this.#sources.entries()) {
      const guess = this.#guesses[i];
      if (guess !== undefined) acceptance.observe(guess.matched, guess.tokens[0] === id);
      drafter.accept(id);
    }
    this.#written.push(id);
    this.#guesses = this.#guess();
  }

  propose(most: number): readonly number[] {
    const oneTokenMs = this.#cost.oneTokenMs;
    if (oneTokenMs === undefined) return []; // a plain step measures it
    let best: readonly number[] = [];
    let bestRate = MIN_GAIN / oneTokenMs;
    for (const [i, guess] of this.#guesses.entries()) {
      if (guess === undefined) continue;
      const longest = Math.min(guess.tokens.length, most);
      const expected = this.#sources[i]!.acceptance.expectedTokens(guess.matched, longest);
      for (const length of new Set(DRAFT_LENGTHS.map((each) => Math.min(each, longest)))) {
        const rate = expected[length]! / this.#cost.estimateMs(1 + length)!;
        if (length < 1 || rate <= bestRate) continue;
        bestRate = rate;
        best = guess.tokens.slice(0, length);
      }
    }
    return best;
  }

  observe(tokens: number, elapsedMs: number): void {
    this.#cost.observe(tokens, elapsedMs);
  }

  /** The answer is whole: the next one to the same prompt may resemble it. */
  remember(): void {
    this.#remember(this.#written);
  }

  #guess(): readonly (Draft | undefined)[] {
    return this.#sources.map(({ drafter }) => drafter.propose(LONGEST_DRAFT));
  }
}
