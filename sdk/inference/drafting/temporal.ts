import { commonEnd, type Draft, type Drafter, LONGEST_MATCH } from './drafter.js';

/** One shared token proves a place only this near to where the answers would go on side by side. */
const NEAR = 16;

interface Place {
  /** Which of the previous answers. */
  readonly answer: readonly number[];
  /** Index in it of the token that is expected next. */
  readonly next: number;
  readonly matched: number;
}

/**
 * Previous answers to the same prompt: a camera's descriptions resemble each other from one second to the next. The
 * newest is followed; where the model writes something else, the place is found again by the tokens that both end
 * with, in any of the previous answers.
 */
export class TemporalDrafter implements Drafter {
  readonly #answers: readonly (readonly number[])[];
  readonly #written: number[] = [];
  #place: Place | undefined;

  /** @param answers token ids, newest first */
  constructor(answers: readonly (readonly number[])[]) {
    this.#answers = answers;
    const newest = answers[0];
    // The whole prompt agrees.
    this.#place = newest === undefined ? undefined : { answer: newest, next: 0, matched: LONGEST_MATCH };
  }

  accept(id: number): void {
    this.#written.push(id);
    const place = this.#place;
    if (place === undefined) return;
    const { answer, next, matched } = place;
    if (answer[next] === id) this.#place = { answer, next: next + 1, matched: Math.min(matched + 1, LONGEST_MATCH) };
    else this.#place = this.#findAgain(place);
  }

  propose(most: number): Draft | undefined {
    if (this.#place === undefined || most < 1) return undefined;
    const { answer, next, matched } = this.#place;
    const tokens = answer.slice(next, next + most);
    return tokens.length === 0 ? undefined : { tokens, matched };
  }

  /** The longest agreement wins; of equals the nearest to the old place, in the followed answer before others. */
  #findAgain(lost: Place): Place {
    const end = this.#written.length;
    const last = this.#written[end - 1];
    // Without any agreement: one token was replaced by one other, and the rest stays.
    let best: Place = { answer: lost.answer, next: lost.next + 1, matched: 0 };
    let bestDistance = Number.POSITIVE_INFINITY;
    // One shared token proves little: it counts when that was tried already, and failed.
    const fewest = lost.matched === 0 ? 1 : 2;
    const answers = [lost.answer, ...this.#answers.filter((answer) => answer !== lost.answer)];
    for (const answer of answers) {
      const expected = answer === lost.answer ? lost.next + 1 : end;
      for (let next = 1; next < answer.length; next++) {
        if (answer[next - 1] !== last) continue;
        const matched = commonEnd(this.#written, end, answer, next);
        const distance = Math.abs(next - expected);
        if (matched < fewest || (matched === 1 && distance > NEAR)) continue;
        if (matched < best.matched || (matched === best.matched && distance >= bestDistance)) continue;
        best = { answer, next, matched };
        bestDistance = distance;
      }
    }
    return best;
  }
}
