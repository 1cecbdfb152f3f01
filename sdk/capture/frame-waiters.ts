/** Readers that wait for a frame: each with its own position, abort and time limit. */
import type { FrameRing, RingCopy, RingFrame } from './frame-ring.js';

interface Waiter {
  readonly after: number;
  readonly copy: RingCopy | undefined;
  readonly isImpatient: boolean;
  resolve(frame: RingFrame): void;
  reject(error: unknown): void;
}

export interface WaitOptions {
  readonly after: number;
  readonly copy?: RingCopy | undefined;
  readonly signal: AbortSignal | undefined;
  /** No limit when undefined. */
  readonly limitMs: number | undefined;
  readonly onLimit: () => Error;
  /** Given up by `rejectImpatient`. */
  readonly isImpatient?: boolean | undefined;
}

export class FrameWaiters {
  readonly #waiters = new Set<Waiter>();
  #ring: FrameRing | undefined;

  /** The ring to read from now; undefined while there is none. */
  use(ring: FrameRing | undefined): void {
    this.#ring = ring;
    this.wake();
  }

  /** A frame above `after`, at once if there is one. */
  next(options: WaitOptions): Promise<RingFrame> {
    const { after, copy, signal, limitMs, onLimit, isImpatient = false } = options;
    const ready = this.#ring?.read(after, copy?.isSwapped, copy?.into);
    if (ready) return Promise.resolve(ready);
    return new Promise((resolve, reject) => {
      const onAbort = () => finish(() => reject(signal?.reason));
      const timer = limitMs === undefined ? undefined : setTimeout(() => finish(() => reject(onLimit())), limitMs);
      const finish = (settle: () => void) => {
        this.#waiters.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        settle();
      };
      const waiter: Waiter = {
        after,
        copy,
        isImpatient,
        resolve: (frame) => finish(() => resolve(frame)),
        reject: (error) => finish(() => reject(error)),
      };
      this.#waiters.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.wake();
    });
  }

  /** Serves who can be served; asks for the doorbell when somebody goes on waiting. */
  wake(): void {
    const ring = this.#ring;
    if (!ring || this.#waiters.size === 0) return;
    this.#serve(ring);
    if (this.#waiters.size === 0) return;
    ring.requestDoorbell();
    this.#serve(ring); // a frame may have come between the look and the request
  }

  rejectAll(error: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(error);
  }

  /** For those who do not wait for a camera that is lost. */
  rejectImpatient(error: unknown): void {
    for (const waiter of [...this.#waiters]) if (waiter.isImpatient) waiter.reject(error);
  }

  #serve(ring: FrameRing): void {
    for (const waiter of [...this.#waiters]) {
      const frame = ring.read(waiter.after, waiter.copy?.isSwapped, waiter.copy?.into);
      if (frame) waiter.resolve(frame);
    }
  }
}
