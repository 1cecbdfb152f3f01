/**
 * A signal that follows others for the length of one piece of work. Not AbortSignal.any: on Node 20 a signal that lives
 * long keeps something of every signal that was made from it.
 *
 * @example
 * using abort = linkedAbort([service.signal, options.signal]);
 * await work(abort.signal);
 */
export interface LinkedAbort extends Disposable {
  readonly signal: AbortSignal;
  /** Aborts this signal alone; the first reason stays. */
  abort(reason?: unknown): void;
  /** Lets go of the others. The signal stays as it is. */
  [Symbol.dispose](): void;
}

/** @param sources undefined ones are left out; one that is aborted already aborts the signal at once */
export function linkedAbort(sources: readonly (AbortSignal | undefined)[]): LinkedAbort {
  const controller = new AbortController();
  const releases: (() => void)[] = [];
  const release = () => {
    for (const each of releases.splice(0)) each();
  };
  const abort = (reason?: unknown) => {
    release();
    controller.abort(reason);
  };
  for (const source of sources) {
    if (source === undefined) continue;
    if (source.aborted) {
      abort(source.reason);
      break;
    }
    const onAbort = () => abort(source.reason);
    source.addEventListener('abort', onAbort, { once: true });
    releases.push(() => source.removeEventListener('abort', onAbort));
  }
  return { signal: controller.signal, abort, [Symbol.dispose]: release };
}
