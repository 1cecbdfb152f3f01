/** Messages of a subscription in order, every one; for events, where a skipped one is lost. */
import type { Stamped, Stream } from './newest-values.js';

/** For a reader that does not read: the oldest go, and it is told how many. */
const MAX_UNREAD = 10_000;

export class ValuesInOrder<T extends Stamped> implements Stream<T> {
  readonly #unread: T[] = [];
  readonly #last = new Map<string, string>();
  readonly #onDropped: (count: number) => void;
  #dropped = 0;
  #wake: (() => void) | undefined;
  #isEnded = false;

  /** @param onDropped called with the number of all that were dropped so far. */
  constructor(onDropped: (count: number) => void) {
    this.#onDropped = onDropped;
  }

  push(topic: string, value: T): void {
    // A broker that saw no acknowledgement delivers again, and at once.
    const stamp = `${value.run} ${value.seq}`;
    if (this.#isEnded || this.#last.get(topic) === stamp) return;
    this.#last.set(topic, stamp);
    this.#unread.push(value);
    if (this.#unread.length > MAX_UNREAD) {
      this.#unread.shift();
      this.#dropped += 1;
      this.#onDropped(this.#dropped);
    }
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
        const first = this.#unread.shift();
        if (first !== undefined || this.#isEnded) return first;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', wake);
    }
  }
}
