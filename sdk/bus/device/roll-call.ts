/** Answers the roll call: not every broker gives retained messages to whoever asks for all devices. */
import type { Logger } from '../../core/logger.js';
import { decodeRequest } from '../contract/decoding.js';
import { rollCallSchema } from '../contract/schemas/index.js';
import type { IncomingMessage } from '../transport/link.js';

const DEFAULT_SPREAD_MS = 1_000;
/** Whoever calls all the time gets no more than that. */
const AT_MOST_EVERY_MS = 2_000;

export class RollCall {
  readonly #answer: () => void;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** @param answer publishes what this device is */
  constructor(answer: () => void, logger: Logger) {
    this.#answer = answer;
    this.#logger = logger;
  }

  receive(message: IncomingMessage): void {
    // A retained one would be answered after each connect, by all devices at once.
    if (message.retain || this.#timer !== undefined) return;
    const decoded = decodeRequest(message.payload);
    const call = rollCallSchema.safeParse(decoded.ok ? decoded.value : undefined);
    if (!call.success) {
      this.#logger.log('debug', 'Skipped a roll call that does not fit its schema', { topic: message.topic });
      return;
    }
    const restMs = Math.max(0, this.#lastMs + AT_MOST_EVERY_MS - performance.now());
    const spreadMs = (call.data.spreadMs ?? DEFAULT_SPREAD_MS) * Math.random();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lastMs = performance.now();
      this.#answer();
    }, restMs + spreadMs);
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
