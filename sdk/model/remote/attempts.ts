/** The same exchange again, after pauses that grow, as long as it may still succeed and nothing of it has been told. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../core/logger.js';
import type { Circuit } from './circuit.js';
import { isPassing, LONGEST_RETRY_AFTER_MS } from './failures.js';
import type { ResolvedRemote } from './options.js';

export interface AttemptOptions {
  readonly circuit: Circuit;
  readonly retries: ResolvedRemote['retries'];
  /** When the answer is worth nothing any more, by `performance.now()`. */
  readonly endMs: number;
  /** Whether something of the exchange has been told already: then there is no second one. */
  readonly isTold: () => boolean;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** @throws what the last attempt throws; the signal's reason */
export async function withRetries<T>(exchange: () => Promise<T>, options: AttemptOptions): Promise<T> {
  const { circuit, retries, endMs, isTold, logger, signal } = options;
  for (let attempt = 0; ; attempt++) {
    try {
      return await circuit.run(exchange, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(error) || isTold() || attempt >= retries.most) throw error;
      const pauseMs = pauseOf(attempt, retries, Number(error.details.retryAfterMs ?? 0));
      const isTooLate = performance.now() + pauseMs >= endMs;
      if (isTooLate || Number(error.details.retryAfterMs ?? 0) > LONGEST_RETRY_AFTER_MS) throw error;
      logger.log('info', `the remote model is asked again in ${Math.round(pauseMs)} ms`, {
        reason: error.message,
        attempt: attempt + 1,
      });
      await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** Half of it is drawn, so that devices that lost a server together do not come back together. */
function pauseOf(attempt: number, { initialMs, maximumMs }: ResolvedRemote['retries'], retryAfterMs: number): number {
  const grown = Math.min(initialMs * 2 ** attempt, maximumMs);
  return Math.max(grown * (0.5 + Math.random() / 2), retryAfterMs * (1 + Math.random() / 10));
}
