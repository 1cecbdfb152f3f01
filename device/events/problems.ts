import { SdkError } from 'scenebus';
import type { Problem } from './events.js';
import type { EventHub } from './hub.js';

/**
 * What is wrong now, by part: `model`, `bus`, `camera/front`. The service is degraded while there is any. Every change
 * is an event.
 */
export class Problems {
  readonly #byPart = new Map<string, Problem>();
  readonly #hub: EventHub;

  constructor(hub: EventHub) {
    this.#hub = hub;
  }

  get list(): readonly Problem[] {
    return [...this.#byPart.values()];
  }

  /** Of any part but this one; undefined: all others work. */
  besides(part: string): Problem | undefined {
    return [...this.#byPart].find(([name]) => name !== part)?.[1];
  }

  report(part: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const isTyped = error instanceof SdkError;
    const problem = {
      code: isTyped ? error.code : 'ERR_INTERNAL',
      message,
      retryable: isTyped && error.retryable,
    };
    const known = this.#byPart.get(part);
    if (known?.code === problem.code && known.message === problem.message) return;
    this.#byPart.set(part, problem);
    void this.#hub.emit('problem', { part, problem });
  }

  clear(part: string): void {
    if (this.#byPart.delete(part)) void this.#hub.emit('problem', { part, problem: null });
  }
}
