import { SdkError } from 'scenebus';

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** What is wrong now, by part: `model`, `bus`, `camera/front`. The service is degraded while there is any. */
export class Problems {
  readonly #byPart = new Map<string, Problem>();
  readonly #onChange: (part: string, problem: Problem | undefined) => void;

  constructor(onChange: (part: string, problem: Problem | undefined) => void) {
    this.#onChange = onChange;
  }

  get list(): readonly Problem[] {
    return [...this.#byPart.values()];
  }

  report(part: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const isTyped = error instanceof SdkError;
    const problem = {
      code: isTyped ? error.code : 'ERR_ENGINE_FAILED',
      message,
      retryable: isTyped && error.retryable,
    };
    const known = this.#byPart.get(part);
    if (known?.code === problem.code && known.message === problem.message) return;
    this.#byPart.set(part, problem);
    this.#onChange(part, problem);
  }

  clear(part: string): void {
    if (this.#byPart.delete(part)) this.#onChange(part, undefined);
  }
}
