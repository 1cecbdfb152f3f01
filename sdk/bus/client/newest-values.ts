/** Messages of a subscription as an async iterable. A slow reader skips to the newest of each topic; memory is bounded. */

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

const MAX_TOPICS = 4096;

/** The newest unread value of each topic; a value that comes again, as after a reconnect, is passed over. */
export class NewestValues<T extends Stamped> implements Stream<T> {
  /** Latest unread value of each topic, oldest topic first. */
  readonly #unread = new Map<string, T>();
  /** Stamp of the last value of each topic: states are sent again after each reconnect. */
  readonly #last = new Map<string, string>();
  #wake: (() => void) | undefined;
  #isEnded = false;

  push(topic: string, value: T): void {
    const stamp = `${value.run} ${value.seq}`;
    if (this.#isEnded || this.#last.get(topic) === stamp) return;
    if (!this.#last.has(topic) && this.#last.size >= MAX_TOPICS) return;
    this.#last.set(topic, stamp);
    this.#unread.set(topic, value);
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
        const first = this.#unread.entries().next().value;
        if (first !== undefined) {
          this.#unread.delete(first[0]);
          return first[1];
        }
        if (this.#isEnded) return undefined;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', wake);
    }
  }
}
