/** Messages of a subscription in order, every one; for events, where a skipped one is lost. */
import { type Stamped, UnreadValues } from './unread-values.js';

/** For a reader that does not read: the oldest go, and it is told how many. */
const MAX_UNREAD = 10_000;

/** Every unread value; one that comes again is passed over. */
export class ValuesInOrder<T extends Stamped> extends UnreadValues<T> {
  readonly #unread: T[] = [];
  readonly #onDropped: (count: number) => void;
  #dropped = 0;

  /** @param onDropped called with the number of all that were dropped so far. */
  constructor(onDropped: (count: number) => void) {
    super();
    this.#onDropped = onDropped;
  }

  protected override keep(_topic: string, value: T): void {
    this.#unread.push(value);
    if (this.#unread.length <= MAX_UNREAD) return;
    this.#unread.shift();
    this.#dropped += 1;
    this.#onDropped(this.#dropped);
  }

  protected override take(): T | undefined {
    return this.#unread.shift();
  }
}
