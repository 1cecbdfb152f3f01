/** Tries the ways to open a source one after another, each in a fresh host, and remembers the one that worked. */
import { isSdkError, type SdkError } from '../core/errors.js';
import type { HostSession, SessionEnd } from './host-session.js';

export interface NextAttempt {
  readonly attempt: number;
  readonly earlierFailures: readonly string[];
  /** What is left of the time for opening, milliseconds. */
  readonly openTimeoutMs: number;
}

export class OpenSequence {
  readonly #openTimeoutMs: number;
  #worked = 0;

  constructor(openTimeoutMs: number) {
    this.#openTimeoutMs = openTimeoutMs;
  }

  /** Runs sessions until one has streamed and ended, or none is left; `run` keeps track of the current one. */
  async run(run: (next: NextAttempt) => { session: HostSession; end: Promise<SessionEnd> }): Promise<SessionEnd> {
    const startedAt = performance.now();
    const earlierFailures: string[] = [];
    let explained: SdkError | undefined;
    for (let attempt = this.#worked; ; attempt++) {
      const openTimeoutMs = Math.max(100, this.#openTimeoutMs - (performance.now() - startedAt));
      const { session, end: ending } = run({ attempt, earlierFailures: [...earlierFailures], openTimeoutMs });
      const end = await ending;
      if (session.ring) this.#worked = attempt;
      if (end.type !== 'failed') return end;
      if (end.tryNext === undefined) {
        // The next time from the first again, unless this one had worked.
        if (!session.ring) this.#worked = 0;
        const crashed = isSdkError(end.error, 'ERR_CAPTURE_HOST_DIED') || isSdkError(end.error, 'ERR_CAPTURE_TIMEOUT');
        // A crash while opening says less than what another way has found.
        return !session.ring && crashed && explained ? { ...end, error: explained } : end;
      }
      earlierFailures.push(end.tryNext);
      if (!isSdkError(end.error, 'ERR_CAPTURE_HOST_DIED') && !isSdkError(end.error, 'ERR_CAPTURE_TIMEOUT')) {
        explained = end.error;
      }
    }
  }
}
