import { isSdkError } from 'scenebus';

/**
 * `keep`: this call only. `replace`: the model is lost or not to be trusted. `shrink`: load it again with smaller caches.
 * `exhausted`: memory does not suffice even so, and another load would not change that.
 */
export type FailureVerdict = 'keep' | 'replace' | 'shrink' | 'exhausted';

/** Failures of one kind in a row after which a model is not trusted any more. */
const MAX_FAILURES = 3;

/** What failures in a row say about a model, across its restarts. */
export class ModelFailures {
  #failures = 0;
  #outOfMemory = 0;
  #losses = 0;
  #isShrunk = false;

  /** The next load should take smaller caches. */
  get isShrunk(): boolean {
    return this.#isShrunk;
  }

  /** Losses since the model last answered. */
  get losses(): number {
    return this.#losses;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#outOfMemory = 0;
    this.#losses = 0;
  }

  judge(error: unknown): FailureVerdict {
    const verdict = this.#judge(error);
    if (verdict !== 'keep') this.#failures = 0;
    if (verdict === 'shrink') this.#isShrunk = true;
    if (verdict === 'replace' || verdict === 'shrink') this.#losses++;
    return verdict;
  }

  #judge(error: unknown): FailureVerdict {
    if (!isSdkError(error)) return 'keep';
    switch (error.code) {
      case 'ERR_ENGINE_DIED':
        // Killed by somebody else: most often the system, out of memory.
        return error.details.how === 'SIGKILL' && this.#memoryRanOut() === 'shrink' ? 'shrink' : 'replace';
      case 'ERR_ENGINE_OUT_OF_MEMORY':
        return this.#memoryRanOut();
      case 'ERR_ENGINE_FAILED':
        return ++this.#failures >= MAX_FAILURES ? 'replace' : 'keep';
      default:
        return 'keep';
    }
  }

  #memoryRanOut(): FailureVerdict {
    if (++this.#outOfMemory < MAX_FAILURES) return 'keep';
    this.#outOfMemory = 0;
    return this.#isShrunk ? 'exhausted' : 'shrink';
  }
}
