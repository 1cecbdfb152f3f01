import { LONGEST_MATCH } from './drafter.js';

/** Weight of what was seen before, at each new observation: about 50 tokens are remembered. */
const DECAY = 0.98;
/** What is assumed before anything was seen, as strong as this many observations. */
const PRIOR_WEIGHT = 4;

/**
 * How often a drafter's next token is right, by how long its match was. Observed on every token, also while nothing
 * is verified: comparing a guess with what came costs nothing.
 */
export class Acceptance {
  /** By class of match length: hits and trials, both decayed. */
  readonly #classes: { hits: number; trials: number }[];

  constructor(prior: (matched: number) => number) {
    this.#classes = CLASS_STARTS.map((matched) => ({ hits: prior(matched) * PRIOR_WEIGHT, trials: PRIOR_WEIGHT }));
  }

  observe(matched: number, right: boolean): void {
    const seen = this.#classes[classOf(matched)]!;
    seen.hits = seen.hits * DECAY + (right ? 1 : 0);
    seen.trials = seen.trials * DECAY + 1;
  }

  probability(matched: number): number {
    const { hits, trials } = this.#classes[classOf(matched)]!;
    return hits / trials;
  }

  /** Tokens that one engine call yields with a draft of 0, 1, … `longest` tokens: the accepted and one more. */
  expectedTokens(matched: number, longest: number): readonly number[] {
    const expected = [1];
    let reached = 1;
    for (let i = 0; i < longest; i++) {
      reached *= this.probability(Math.min(matched + i, LONGEST_MATCH));
      expected.push(expected[i]! + reached);
    }
    return expected;
  }
}

const CLASS_STARTS = [0, 1, 2, 3, 5, 9, LONGEST_MATCH];

function classOf(matched: number): number {
  let index = 0;
  while (index + 1 < CLASS_STARTS.length && CLASS_STARTS[index + 1]! <= matched) index++;
  return index;
}
