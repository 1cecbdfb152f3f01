import { type Clock, systemClock } from '../core/clock.js';
import type { CallOptions } from '../core/types.js';
import type { CameraStatus } from './camera.js';

/** The present status and its changes; slow readers are given the newest only. */
export class StatusFeed {
  readonly #clock: Clock;
  #status: CameraStatus;
  readonly #listeners = new Set<() => void>();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
    this.#status = { state: 'opening', sinceMs: clock.wallMs() };
  }

  get current(): CameraStatus {
    return this.#status;
  }

  set(status: Omit<CameraStatus, 'sinceMs'>): void {
    if (this.#status.state === 'closed') return;
    this.#status = Object.freeze({ ...status, sinceMs: this.#clock.wallMs() });
    for (const listener of [...this.#listeners]) listener();
  }

  /** Ends after `closed`. */
  async *changes(options: CallOptions = {}): AsyncGenerator<CameraStatus, void, undefined> {
    const { signal } = options;
    let last: CameraStatus | undefined;
    for (;;) {
      signal?.throwIfAborted();
      if (this.#status === last) {
        await this.#changed(signal);
        continue;
      }
      last = this.#status;
      yield last;
      if (last.state === 'closed') return;
    }
  }

  #changed(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#listeners.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      this.#listeners.add(done);
      signal?.addEventListener('abort', done, { once: true });
    });
  }
}
