/** Messages of a subscription as an async iterable. A slow reader skips to the newest of each topic; memory is bounded. */
import { type Stamped, UnreadValues } from './unread-values.js';

const MAX_TOPICS = 4096;

/** The newest unread value of each topic; a value that comes again, as after a reconnect, is passed over. */
export class NewestValues<T extends Stamped> extends UnreadValues<T> {
  /** Latest unread value of each topic, oldest topic first. */
  readonly #unread = new Map<string, T>();

  constructor() {
    super(MAX_TOPICS);
  }

  protected override keep(topic: string, value: T): void {
    this.#unread.set(topic, value);
  }

  protected override take(): T | undefined {
    const first = this.#unread.entries().next().value;
    if (first !== undefined) this.#unread.delete(first[0]);
    return first?.[1];
  }
}
