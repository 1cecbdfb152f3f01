/** What is known of a picture that stands still while frames go on coming. */
import type { Clock } from '../core/clock.js';
import { SdkError } from '../core/errors.js';

/** Pauses between attempts to get it moving by opening the camera again. */
const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 600_000;

/** When a camera whose picture stands still is opened again, and what is said of it meanwhile. */
export class FrozenPicture {
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  #hash = '';
  #sinceMs = 0;
  #dueAtMs = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #error: SdkError | undefined;

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  /** Of the picture; empty while none stands still. */
  get hash(): string {
    return this.#hash;
  }

  /** Set while a picture stands still. */
  get error(): SdkError | undefined {
    return this.#error;
  }

  /** It has stood still for another `timeoutMs`. `isDue`: the camera should be opened again. */
  note(hash: string, address: string, mayReopen: boolean): { readonly error: SdkError; readonly isDue: boolean } {
    const nowMs = this.#clock.monotonicMs();
    const isKnown = this.#hash === hash;
    if (!isKnown) {
      this.#hash = hash;
      this.#sinceMs = nowMs - this.#timeoutMs;
      this.#pauseMs = FIRST_PAUSE_MS;
    }
    const isDue = mayReopen && (!isKnown || nowMs >= this.#dueAtMs);
    if (isDue) {
      this.#dueAtMs = nowMs + this.#pauseMs;
      this.#pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * this.#pauseMs);
    }
    const seconds = Math.round((nowMs - this.#sinceMs) / 1000);
    const error = new SdkError(
      'ERR_CAPTURE_STALLED',
      `Expected the picture of ${address} to change, but it has been the same for ${seconds} s, byte for byte, although frames keep arriving. If it really shows a picture without any noise, set frozenTimeoutMs to 0.`,
      { details: { seconds } },
    );
    this.#error = error;
    return { error, isDue };
  }

  /** The picture changes. Returns whether one had stood still. */
  forget(): boolean {
    const was = this.#hash !== '';
    this.#hash = '';
    this.#error = undefined;
    return was;
  }
}
