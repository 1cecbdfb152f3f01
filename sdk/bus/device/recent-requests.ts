/** Tells a request that comes again from a new one, so that it is answered once. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from '../transport/link.js';
import type { Route } from './routes.js';

const MAX_KEYS = 1024;
/** Callers that send again do so soon; a script that always uses one transaction is no repetition after that. */
const ANSWERED_WINDOW_MS = 10_000;

export class RecentRequests {
  /** Oldest first. undefined: not answered yet. */
  readonly #answeredAtMs = new Map<string, number | undefined>();
  readonly #now: () => number;

  /** @param now milliseconds of a clock that only goes forward. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Notes a request. @returns a function to call when it is answered, or undefined when it has come before: with what
   * marks it (transaction, else correlation data), the same payload and the same way back. Without a mark every
   * request is new.
   */
  begin(message: IncomingMessage, route: Route): (() => void) | undefined {
    const mark = route.transaction ?? (route.correlationData && Buffer.from(route.correlationData).toString('hex'));
    if (mark === undefined) return () => {};
    const digest = createHash('sha256').update(message.payload).digest('base64');
    const key = JSON.stringify([message.topic, route.topic, mark, digest]);
    if (this.#answeredAtMs.has(key)) {
      const answeredAtMs = this.#answeredAtMs.get(key);
      // The broker marks what it delivers again, however late.
      const isOld = answeredAtMs !== undefined && this.#now() - answeredAtMs >= ANSWERED_WINDOW_MS;
      if (message.duplicate || !isOld) return undefined;
      this.#answeredAtMs.delete(key);
    }
    this.#answeredAtMs.set(key, undefined);
    const oldest = this.#answeredAtMs.keys().next().value;
    if (this.#answeredAtMs.size > MAX_KEYS && oldest !== undefined) this.#answeredAtMs.delete(oldest);
    return () => {
      if (this.#answeredAtMs.has(key)) this.#answeredAtMs.set(key, this.#now());
    };
  }
}
