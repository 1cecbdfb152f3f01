import { SdkError } from '../core/errors.js';

type Priority = 'question' | 'watch' | 'description';
const URGENCY: readonly Priority[] = ['question', 'watch', 'description'];

/** Lets one holder at a time do its work; the others wait in the order in which they came. */
export class TurnQueue {
  readonly #maxWaiting: number;
  readonly #waiting: {
    readonly priority: Priority;
    readonly start: () => void;
    readonly fail: (reason: unknown) => void;
  }[] = [];
  #held = false;
  #closed: { readonly reason: unknown } | undefined;
  readonly #idle: (() => void)[] = [];

  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Resolves with the function that ends the turn (it does so once, however often it is called).
   * @throws SdkError ERR_BUSY when `maxWaiting` wait already; signal.reason when aborted while waiting.
   */
  async take(priority: Priority, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#closed) throw this.#closed.reason;
    if (this.#held) await this.#wait(priority, signal);
    else this.#held = true;
    let ended = false;
    return () => {
      if (!ended) this.#next();
      ended = true;
    };
  }

  stats() {
    const count = (priority: Priority) => this.#waiting.filter((each) => each.priority === priority).length;
    const waiting = { question: count('question'), watch: count('watch'), description: count('description') };
    return { waiting, running: this.#held ? 1 : 0, preemptions: 0 };
  }

  /** Refuses everyone who waits or comes later. The running turn ends by itself: await `idle()`. */
  close(reason: unknown): void {
    this.#closed ??= { reason };
    for (const waiter of this.#waiting.splice(0)) waiter.fail(reason);
  }

  /** Resolves when nobody holds the turn. */
  async idle(): Promise<void> {
    if (this.#held) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #wait(priority: Priority, signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting) {
      throw new SdkError(
        'ERR_BUSY',
        `Expected at most ${this.#maxWaiting} generations to wait for this model but one more came. Try again later.`,
        { details: { maxWaiting: this.#maxWaiting, retryAfterMs: 1000 } },
      );
    }
    return new Promise<void>((resolve, reject) => {
      const settle = () => signal.removeEventListener('abort', onAbort);
      const waiter = {
        priority,
        start: () => {
          settle();
          resolve();
        },
        fail: (reason: unknown) => {
          settle();
          reject(reason);
        },
      };
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        waiter.fail(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #next(): void {
    const of = (priority: Priority) => this.#waiting.findIndex((each) => each.priority === priority);
    const next = URGENCY.map(of).find((index) => index !== -1);
    const waiter = next === undefined ? undefined : this.#waiting.splice(next, 1)[0];
    if (waiter) {
      waiter.start(); // the turn passes on, still held
      return;
    }
    this.#held = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
