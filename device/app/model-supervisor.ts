import { setTimeout as sleep } from 'node:timers/promises';
import {
  isSdkError,
  type Logger,
  type ModelInfo,
  type ModelStats,
  type ProcessMemory,
  SdkError,
  type VisionLanguageModel,
} from 'scenebus';
import type { ModelAccess } from '../features/context.js';
import { ModelFailures } from './model-failures.js';

/** `small`: with caches as small as they can be, because the model kept running out of memory. */
export type ModelMemory = 'full' | 'small';

export interface ModelSupervisorOptions {
  readonly load: (signal: AbortSignal, memory: ModelMemory) => Promise<VisionLanguageModel>;
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

/**
 * Keeps one model loaded: an engine that died, hangs or keeps failing is disposed of and reloaded, with
 * pauses that grow until it answers. Meanwhile `use` fails at once with an error that callers can pass on. A model in a
 * process of its own is missed as soon as that ends, also when nobody asks.
 */
export class ModelSupervisor implements ModelAccess, AsyncDisposable {
  readonly #options: ModelSupervisorOptions;
  readonly #closing = new AbortController();
  #model: VisionLanguageModel | undefined;
  #lost: SdkError | undefined;
  readonly #failures = new ModelFailures();
  /** A call found memory exhausted; health says so until one succeeds. */
  #isExhausted = false;
  #restarts = 0;
  #restarting: Promise<void> | undefined;

  private constructor(options: ModelSupervisorOptions) {
    this.#options = options;
  }

  /**
   * Loads the model. A first load that fails is the caller's to report: a wrong folder does not get right by waiting.
   * One that died or ran out of memory is tried again, as later ones are: the rest of a device is of use meanwhile.
   */
  static async start(options: ModelSupervisorOptions, signal: AbortSignal): Promise<ModelSupervisor> {
    const supervisor = new ModelSupervisor(options);
    try {
      supervisor.#begin(await options.load(signal, 'full'));
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error;
      supervisor.#failures.judge(error);
      supervisor.#replace(undefined, error);
    }
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

  /** Of the model's process; undefined where it has none, or is being loaded again. */
  get memory(): ProcessMemory | undefined {
    return this.#model?.process?.memory();
  }

  /** @throws SdkError ERR_ENGINE_DIED while the model is being loaded again; what the work throws. */
  async use<T>(work: (model: VisionLanguageModel) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const model = this.#model;
    if (model === undefined) throw this.#lost ?? new SdkError('ERR_DISPOSED', 'The service is stopping.');
    try {
      const result = await this.#withinReason(work(model), signal);
      this.#succeeded();
      return result;
    } catch (error) {
      this.#failed(model, error);
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

  /** An engine that does not come back after an abort would block every caller behind it forever. */
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

  #begin(model: VisionLanguageModel): void {
    this.#model = model;
    void model.process?.ended.then((error) => {
      if (error !== undefined && !this.#closing.signal.aborted) this.#failed(model, error);
    });
  }

  #succeeded(): void {
    this.#failures.succeeded();
    if (this.#isExhausted) this.#options.onHealth(undefined);
    this.#isExhausted = false;
  }

  /** Told once for every model that is lost, whoever notices first: a call or the end of the process. */
  #failed(model: VisionLanguageModel, error: unknown): void {
    if (model !== this.#model) return;
    const verdict = this.#failures.judge(error);
    if (verdict === 'replace' || verdict === 'shrink') this.#replace(model, error);
    if (verdict !== 'exhausted') return;
    this.#isExhausted = true;
    this.#options.onHealth(exhausted(error));
  }

  #replace(model: VisionLanguageModel | undefined, reason: unknown): void {
    this.#model = undefined;
    this.#isExhausted = false; // what follows says how it is
    this.#restarting = this.#restart(model, reason).catch((error: unknown) => {
      if (!this.#closing.signal.aborted)
        this.#options.logger.log('error', 'the model could not be restarted', { error });
    });
  }

  async #restart(old: VisionLanguageModel | undefined, reason: unknown): Promise<void> {
    const { load, logger, onHealth, backoff = DEFAULT_BACKOFF } = this.#options;
    const signal = this.#closing.signal;
    let cause = reason;
    if (old !== undefined) {
      this.#lost = new SdkError(
        'ERR_ENGINE_DIED',
        `Expected the model to be loaded, but it is not available now (${messageOf(reason)}): its memory is being freed. Ask again later.`,
        { cause: reason },
      );
      onHealth(this.#lost);
      // A big model does not fit twice: nothing is loaded before the old one has left. A model in a process of its own is
      // killed for that; where one hangs within this process, only a restart of the service helps, and this says why.
      await untilAborted(this.#release(old), signal);
    }
    const grown = backoff.initialMs * 2 ** Math.max(0, this.#failures.losses - 1);
    for (let pauseMs = Math.min(grown, backoff.maximumMs); ; pauseMs = Math.min(2 * pauseMs, backoff.maximumMs)) {
      this.#lost = lostError(cause, pauseMs);
      onHealth(this.#lost);
      logger.log('error', this.#lost.message);
      await sleep(pauseMs, undefined, { signal });
      try {
        this.#begin(await load(signal, this.#failures.isShrunk ? 'small' : 'full'));
        break;
      } catch (error) {
        signal.throwIfAborted();
        this.#failures.judge(error);
        cause = error;
      }
    }
    this.#restarts++;
    this.#lost = undefined;
    logger.log('info', 'the model is loaded again');
    onHealth(undefined);
  }
}

/** Whether another load may succeed without anybody's doing. */
function isPassing(error: unknown): boolean {
  return isSdkError(error, 'ERR_ENGINE_DIED') || isSdkError(error, 'ERR_ENGINE_OUT_OF_MEMORY');
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

function exhausted(cause: unknown): SdkError {
  const remedy = 'Choose a shorter model.contextLength, a smaller or quantised model, or free memory on this machine.';
  return new SdkError(
    'ERR_ENGINE_OUT_OF_MEMORY',
    `The model keeps running out of memory (${messageOf(cause)}), even with its smallest caches. ${remedy}`,
    { cause },
  );
}

function lostError(cause: unknown, pauseMs: number): SdkError {
  return new SdkError(
    'ERR_ENGINE_DIED',
    `Expected the model to be loaded, but it is not available now (${messageOf(cause)}) and is reloaded in ${Math.ceil(pauseMs / 1000)} s. Ask again later.`,
    { cause },
  );
}
