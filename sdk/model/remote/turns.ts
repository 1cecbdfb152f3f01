/** Who may send a request now: so many at once, the most urgent first, and a bound on those who wait. */
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { PRIORITIES, type Priority } from '../../inference/priority.js';

/** Of one remote model. */
export class Turns {
  readonly #concurrency: number;
  readonly #waiting: Record<Priority, (() => void)[]> = { urgent: [], question: [], watch: [], description: [] };
  #running = 0;

  constructor(concurrency: number) {
    this.#concurrency = concurrency;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): Readonly<Record<Priority, number>> {
    const { urgent, question, watch, description } = this.#waiting;
    return {
      urgent: urgent.length,
      question: question.length,
      watch: watch.length,
      description: description.length,
    };
  }

  /** @throws SdkError ERR_BUSY when too many of the priority wait; the signal's reason */
  async take<T>(priority: Priority, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#running < this.#concurrency) this.#running++;
    else await this.#wait(priority, signal);
    try {
      return await work();
    } finally {
      this.#pass();
    }
  }

  async #wait(priority: Priority, signal: AbortSignal): Promise<void> {
    const queue = this.#waiting[priority];
    if (queue.length >= LIMITS.requestQueueLength) {
      throw new SdkError(
        'ERR_BUSY',
        `Expected at most ${LIMITS.requestQueueLength} requests that wait for the remote model but received one more.`,
        { details: { retryAfterMs: 1_000 } },
      );
    }
    let onAbort = () => {};
    await new Promise<void>((resolve, reject) => {
      queue.push(resolve);
      onAbort = () => {
        const place = queue.indexOf(resolve);
        // It may have been given its turn already; then it goes on, and sees the abort itself.
        if (place === -1) return;
        queue.splice(place, 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    }).finally(() => signal.removeEventListener('abort', onAbort));
  }

  /** The turn goes to who waits, so that nobody new comes between. */
  #pass(): void {
    for (const priority of PRIORITIES) {
      const next = this.#waiting[priority].shift();
      if (next === undefined) continue;
      next();
      return;
    }
    this.#running--;
  }
}
