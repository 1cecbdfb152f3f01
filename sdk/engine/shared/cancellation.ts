/** Calls of the addons: they end before their time by the signal of their caller, or because the engine closes. */
import { toSdkError } from './native-call.js';

/** Made for one call, whose every token pays for it: one listener, and nothing at all when nobody cancels. */
export class Cancellation implements Disposable {
  /** `[1]`: becomes 1. The native side looks at it between its layers or steps. */
  readonly flag = new Int32Array(1);
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;
  #cancelled: { readonly reason: unknown } | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.#onAbort = () => this.cancel(signal?.reason);
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** The first reason stays. */
  cancel(reason: unknown): void {
    if (this.#cancelled !== undefined) return;
    this.#cancelled = { reason };
    this.flag[0] = 1;
    this.#reject?.(reason);
  }

  /** Settles as `work` does, but with the reason as soon as there is one; `onSettled` is called right before. */
  race<T>(work: Promise<T>, onSettled?: () => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settled =
        <V>(settle: (value: V) => void) =>
        (value: V) => {
          onSettled?.();
          settle(value);
        };
      this.#reject = settled(reject);
      if (this.#cancelled !== undefined) this.#reject(this.#cancelled.reason);
      work.then(settled(resolve), this.#reject);
    });
  }

  /**
   * Makes the call, unless it is cancelled already, and settles when the native side has: rejects with the reason, else
   * with an SdkError.
   */
  run<T>(call: (flag: Int32Array) => Promise<T>): Promise<T> {
    const toReason = (error: unknown) => {
      this.#throwIfCancelled();
      throw toSdkError(error);
    };
    try {
      this.#throwIfCancelled();
      return call(this.flag).catch(toReason);
    } catch (error) {
      return Promise.reject(error).catch(toReason);
    }
  }

  /** Lets go of the signal. */
  [Symbol.dispose](): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  #throwIfCancelled(): void {
    if (this.#cancelled !== undefined) throw this.#cancelled.reason;
  }
}

/** One native call with a flag that the signal sets; rejects with its reason, else with an SdkError. */
export async function abortable<T>(
  signal: AbortSignal | undefined,
  call: (flag: Int32Array) => Promise<T>,
): Promise<T> {
  using cancellation = new Cancellation(signal);
  return await cancellation.run(call);
}
