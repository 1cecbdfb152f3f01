/** A pause, in Node and in browsers alike. */

export interface SleepOptions {
  /** Ends the pause early; it is no error. */
  readonly signal?: AbortSignal | undefined;
  /** true: the pause does not keep a Node process alive. */
  readonly isBackground?: boolean | undefined;
}

/** Resolves after `durationMs`, or as soon as `signal` is aborted; never rejects. */
export function sleep(durationMs: number, { signal, isBackground = false }: SleepOptions = {}): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    // Browsers have numbers where Node has objects.
    const timer = setTimeout(finish, durationMs) as NodeJS.Timeout | number;
    if (isBackground && typeof timer === 'object') timer.unref();
    signal?.addEventListener('abort', finish, { once: true });
  });
}
