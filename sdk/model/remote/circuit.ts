/** Leaves a server alone that keeps failing: callers then learn so at once, and it can come back in peace. */
import { systemClock } from '../../core/clock.js';
import { SdkError } from '../../core/errors.js';
import { isUnwell } from './failures.js';
import type { ResolvedRemote } from './options.js';

/** `half-open`: one request tries whether the server is well again; the others are refused meanwhile. */
export type CircuitState = 'closed' | 'open' | 'half-open';

/** Times the first pause. */
const LONGEST = 16;

/** Of one server, shared by all requests to it. */
export class Circuit {
  readonly #settings: ResolvedRemote['circuit'];
  readonly #where: string;
  #failures = 0;
  #openUntilMs: number | undefined;
  #isTrying = false;

  constructor(where: string, settings: ResolvedRemote['circuit']) {
    this.#where = where;
    this.#settings = settings;
  }

  get state(): CircuitState {
    if (this.#openUntilMs === undefined) return 'closed';
    return systemClock.monotonicMs() < this.#openUntilMs ? 'open' : 'half-open';
  }

  /**
   * One exchange with the server, and what it says of it.
   * @throws SdkError ERR_REMOTE_UNREACHABLE with `details.circuit` and `details.retryAfterMs` while it is open
   */
  async run<T>(exchange: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const isTrial = this.#enter();
    try {
      const result = await exchange();
      this.#closed();
      return result;
    } catch (error) {
      // What a caller ended says nothing of the server.
      if (!signal.aborted) {
        if (isUnwell(error)) this.#failed();
        else this.#closed();
      }
      throw error;
    } finally {
      if (isTrial) this.#isTrying = false;
    }
  }

  /** @returns whether this request is the trial */
  #enter(): boolean {
    const { state } = this;
    if (state === 'closed') return false;
    if (state === 'half-open' && !this.#isTrying) {
      this.#isTrying = true;
      return true;
    }
    const retryAfterMs = Math.max(0, Math.ceil(this.#openUntilMs! - systemClock.monotonicMs()));
    throw new SdkError(
      'ERR_REMOTE_UNREACHABLE',
      `The remote model at ${this.#where} has failed ${this.#failures} times in a row and is left alone for ${retryAfterMs} ms.`,
      { details: { circuit: 'open', retryAfterMs } },
    );
  }

  #closed(): void {
    this.#failures = 0;
    this.#openUntilMs = undefined;
  }

  #failed(): void {
    this.#failures++;
    const { failures, openMs } = this.#settings;
    if (this.#failures < failures) return;
    const times = Math.min(LONGEST, 2 ** (this.#failures - failures));
    this.#openUntilMs = systemClock.monotonicMs() + openMs * times;
  }
}
