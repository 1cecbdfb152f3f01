import { setTimeout as sleep } from 'node:timers/promises';
import { isSdkError, type Logger, type ModelInfo, type ModelStats, SdkError, type VisionLanguageModel } from 'scenebus';
import type { ModelAccess } from '../features/context.js';

export interface ModelSupervisorOptions {
  readonly load: (signal: AbortSignal) => Promise<VisionLanguageModel>;
  readonly logger: Logger;
  /** Called when the model is lost (with why) and when it is back (without). */
  readonly onHealth: (error: SdkError | undefined) => void;
  /** Pause before a restart: doubles from the first to the last. */
  readonly backoff?: { readonly initialMs: number; readonly maximumMs: number } | undefined;
  /** How long an aborted call may take to return before the engine counts as hung. */
  readonly hangMs?: number | undefined;
}

const DEFAULT_BACKOFF = { initialMs: 1_000, maximumMs: 60_000 };
const DEFAULT_HANG_MS = 30_000;
/** Failures in a row after which the engine is not trusted any more. */
const MAX_FAILURES = 3;

/**
 * Keeps one model loaded: an engine that died, hangs or fails again and again is thrown away and loaded anew, with
 * growing pauses. Meanwhile `use` fails at once with an error that callers can pass on.
 */
export class ModelSupervisor implements ModelAccess, AsyncDisposable {
  readonly #options: ModelSupervisorOptions;
  readonly #closing = new AbortController();
  #model: VisionLanguageModel | undefined;
  #lost: SdkError | undefined;
  #failures = 0;
  #restarts = 0;
  #restarting: Promise<void> | undefined;

  private constructor(options: ModelSupervisorOptions) {
    this.#options = options;
  }

  /** Loads the model. A first load that fails is the caller's to report: a wrong folder does not get right by waiting. */
  static async start(options: ModelSupervisorOptions, signal: AbortSignal): Promise<ModelSupervisor> {
    const supervisor = new ModelSupervisor(options);
    supervisor.#model = await options.load(signal);
    return supervisor;
  }

  /** undefined while the model is being loaded again. */
  get info(): ModelInfo | undefined {
    return this.#model?.info;
  }

  /** undefined while the model is being loaded again. */
  get stats(): ModelStats | undefined {
    return this.#model?.stats();
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** @throws SdkError ERR_ENGINE_DIED while the model is being loaded again; what the work throws. */
  async use<T>(work: (model: VisionLanguageModel) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const model = this.#model;
    if (model === undefined) throw this.#lost ?? new SdkError('ERR_DISPOSED', 'The service is stopping.');
    try {
      const result = await this.#withinReason(work(model), signal);
      this.#failures = 0;
      return result;
    } catch (error) {
      if (model === this.#model && this.#isFatal(error)) this.#replace(model, error);
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new SdkError('ERR_DISPOSED', 'The service is stopping.'));
    await this.#restarting;
    const model = this.#model;
    this.#model = undefined;
    await model?.[Symbol.asyncDispose]();
  }

  async #release(model: VisionLanguageModel): Promise<void> {
    try {
      await model[Symbol.asyncDispose]();
    } catch (error) {
      this.#options.logger.log('warn', 'the lost model could not be released cleanly', { error });
    }
  }

  /** An engine that does not come back after an abort would hold up everyone behind it for ever. */
  async #withinReason<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    let onAbort = () => {};
    const hang = new Promise<never>((_, reject) => {
      onAbort = () => {
        timer = setTimeout(
          () => reject(new SdkError('ERR_ENGINE_DIED', 'The engine hangs: it did not end a call that was aborted.')),
          this.#options.hangMs ?? DEFAULT_HANG_MS,
        );
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([work, hang]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  #isFatal(error: unknown): boolean {
    if (!isSdkError(error)) return false;
    if (error.code === 'ERR_ENGINE_DIED') return true;
    if (error.code !== 'ERR_ENGINE_FAILED' && error.code !== 'ERR_ENGINE_OUT_OF_MEMORY') return false;
    return ++this.#failures >= MAX_FAILURES;
  }

  #replace(model: VisionLanguageModel, reason: unknown): void {
    this.#model = undefined;
    this.#restarting = this.#restart(model, reason).catch((error: unknown) => {
      if (!this.#closing.signal.aborted)
        this.#options.logger.log('error', 'the model could not be restarted', { error });
    });
  }

  async #restart(old: VisionLanguageModel, reason: unknown): Promise<void> {
    const { load, logger, onHealth, backoff = DEFAULT_BACKOFF } = this.#options;
    const signal = this.#closing.signal;
    let cause = reason;
    this.#lost = new SdkError(
      'ERR_ENGINE_DIED',
      `The model is not there now (${messageOf(reason)}): its memory is being freed. Ask again later.`,
      { cause: reason },
    );
    onHealth(this.#lost);
    // A big model does not fit twice: nothing is loaded before the old one has left. A model in a process of its own is
    // killed for that; where one hangs within this process, only a restart of the service helps, and this says why.
    await untilAborted(this.#release(old), signal);
    for (let pauseMs = backoff.initialMs; ; pauseMs = Math.min(2 * pauseMs, backoff.maximumMs)) {
      this.#lost = lostError(cause, pauseMs);
      onHealth(this.#lost);
      logger.log('error', this.#lost.message);
      await sleep(pauseMs, undefined, { signal });
      try {
        this.#model = await load(signal);
        break;
      } catch (error) {
        signal.throwIfAborted();
        cause = error;
      }
    }
    this.#failures = 0;
    this.#restarts++;
    this.#lost = undefined;
    logger.log('info', 'the model is loaded again');
    onHealth(undefined);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The promise, or the end of waiting for it. */
async function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function lostError(cause: unknown, pauseMs: number): SdkError {
  return new SdkError(
    'ERR_ENGINE_DIED',
    `The model is not there now (${messageOf(cause)}) and is loaded again in ${Math.ceil(pauseMs / 1000)} s. Ask again later.`,
    { cause },
  );
}
