/** Messages of a subscription on their way to a reader: what is told apart, kept and waited for in each way of reading. */

/** Anything with the stamps that tell a repeated message from a new one. */
export interface Stamped {
  readonly run: string;
  readonly seq: number;
}

/** What a subscription's messages go through on their way to a reader. */
export interface Stream<T> {
  push(topic: string, value: T): void;
  end(): void;
  /** The next value; undefined when ended. @throws signal.reason */
  next(signal: AbortSignal | undefined): Promise<T | undefined>;
}

/** Waiting and repetitions; which values are kept, and in which order they go, is the subclass's. */
export abstract class UnreadValues<T extends Stamped> implements Stream<T> {
  /** Stamp of the last value of each topic: a broker sends again after a reconnect, or without an acknowledgement. */
  readonly #last = new Map<string, string>();
  readonly #maxTopics: number;
  #wake: (() => void) | undefined;
  #isEnded = false;

  /** @param maxTopics values of further topics are passed over */
  constructor(maxTopics = Number.POSITIVE_INFINITY) {
    this.#maxTopics = maxTopics;
  }

  protected abstract keep(topic: string, value: T): void;
  /** The value to read next, which is then read. */
  protected abstract take(): T | undefined;

  push(topic: string, value: T): void {
    const stamp = `${value.run} ${value.seq}`;
    if (this.#isEnded || this.#last.get(topic) === stamp) return;
    if (!this.#last.has(topic) && this.#last.size >= this.#maxTopics) return;
    this.#last.set(topic, stamp);
    this.keep(topic, value);
    this.#wake?.();
  }

  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  async next(signal: AbortSignal | undefined): Promise<T | undefined> {
    const wake = (): void => this.#wake?.();
    signal?.addEventListener('abort', wake);
    try {
      for (;;) {
        signal?.throwIfAborted();
        const value = this.take();
        if (value !== undefined || this.#isEnded) return value;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', wake);
    }
  }
}
