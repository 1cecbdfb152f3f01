/** How many may wait for the model: one limit, in one place. */
import { SdkError } from '../core/errors.js';
import type { Claim } from './pick-order.js';

/** Told to who is refused before anything is known of how long requests take. */
const FIRST_GUESS_MS = 1_000;
const SHORTEST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 60_000;
/** Weight of the newest request in the average. */
const NEWEST_WEIGHT = 0.2;

/** Decides who may wait, and guesses when it is worth while to come again. */
export class Admission {
  readonly #maxWaiting: number;
  #typicalMs = FIRST_GUESS_MS;

  /** @param maxWaiting of each priority: a flood of descriptions takes no question's place, and the other way round */
  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  /** Milliseconds of the engine that a request took. */
  observe(busyMs: number): void {
    this.#typicalMs += NEWEST_WEIGHT * (busyMs - this.#typicalMs);
  }

  /**
   * Who has to leave so that `newcomer` can wait too: nobody, or the newest request of a caller that has many waiting
   * where the newcomer's has few.
   * @param waiting all that wait, of any priority
   * @throws SdkError ERR_BUSY when there is no room for the newcomer
   */
  admit<T extends Claim>(newcomer: Claim, waiting: readonly T[]): T | undefined {
    const rivals = waiting.filter(({ priority }) => priority === newcomer.priority);
    if (rivals.length < this.#maxWaiting) return undefined;
    const counts = new Map<string, number>();
    for (const { caller } of rivals) counts.set(caller, (counts.get(caller) ?? 0) + 1);
    const [heaviest, most] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a), ['', 0]);
    if (most <= (counts.get(newcomer.caller) ?? 0) + 1) throw this.busy(waiting.length);
    return rivals.filter(({ caller }) => caller === heaviest).reduce((a, b) => (b.arrival > a.arrival ? b : a));
  }

  busy(waiting: number): SdkError {
    const retryAfterMs = Math.round(
      Math.min(LONGEST_RETRY_MS, Math.max(SHORTEST_RETRY_MS, this.#typicalMs * Math.max(1, waiting))),
    );
    return new SdkError(
      'ERR_BUSY',
      `Expected at most ${this.#maxWaiting} requests to wait for this model but one more came. Try again in ${(retryAfterMs / 1000).toFixed(1)} s.`,
      { details: { maxWaiting: this.#maxWaiting, waiting, retryAfterMs } },
    );
  }
}
