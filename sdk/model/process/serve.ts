/** The model process: loads one model, answers calls about it, and exits on request or when its parent is gone. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connectParent, type ParentLink } from '../../child/index.js';
import { isSdkError, SdkError, type SerializedError, serializeError } from '../../core/errors.js';
import { type Logger, type OnProgress, type Progress, silentLogger } from '../../core/logger.js';
import type { Decidable } from '../decidable.js';
import type { GenerateOptions, GenerateRequest, ModelImage, VisionLanguageModel } from '../types.js';
import { FrameViews } from './frame-views.js';
import { type FromModel, LOAD_ID, type LoadOptions, type ToModel, toModelSchema } from './protocol.js';
import { putTogether } from './transfer.js';

/** `options`: those that the parent gave to `loadModel`, to be checked there. */
export type LoadInProcess = (directory: string, options: LoadOptions) => Promise<VisionLanguageModel>;

/** Progress is reported at most this often, and at the beginning and end of every phase. */
const PROGRESS_MS = 50;
/** A wake-up that costs microseconds. */
const STATS_MS = 500;

/**
 * @param load what a `load` message is answered with
 * @returns false when this process was not started by `loadModel`
 */
export function serveModel(load: LoadInProcess): boolean {
  const server = new ModelServer(load);
  const link = connectParent((message) => server.receive(message));
  if (link !== undefined) server.link = link;
  return link !== undefined;
}

type LoadMessage = Extract<ToModel, { type: 'load' }>;
type CallMessage = Extract<ToModel, { type: 'call' }>;

class ModelServer {
  link: ParentLink | undefined;
  readonly #load: LoadInProcess;
  readonly #views = new FrameViews();
  /** Of the load and of calls that run. */
  readonly #aborts = new Map<number, AbortController>();
  #model: VisionLanguageModel | undefined;
  #isClosing = false;

  constructor(load: LoadInProcess) {
    this.#load = load;
  }

  receive(received: unknown): void {
    const message = toModelSchema.parse(received); // our own messages: what is wrong with them ends the process
    switch (message.type) {
      case 'load':
        void this.#onLoad(message);
        return;
      case 'call':
        void this.#onCall(message);
        return;
      case 'abort':
        this.#aborts.get(message.id)?.abort();
        return;
      case 'dispose':
        void this.#onDispose();
        return;
    }
  }

  #send(message: FromModel): void {
    this.link?.send(message);
  }

  async #onLoad({ directory, options, wants }: LoadMessage): Promise<void> {
    const abort = this.#begin(LOAD_ID);
    try {
      this.#model = await this.#load(directory, {
        ...options,
        signal: abort.signal,
        logger: wants.log ? this.#logger() : silentLogger,
        onProgress: wants.progress ? this.#progress() : undefined,
      });
      this.#send({ type: 'loaded', info: this.#model.info, stats: this.#model.stats() });
      this.#tellStats(this.#model);
    } catch (error) {
      this.#send({ type: 'failed', id: LOAD_ID, error: crossing(error) });
    } finally {
      this.#aborts.delete(LOAD_ID);
    }
  }

  async #onCall(message: CallMessage): Promise<void> {
    const { id } = message;
    const abort = this.#begin(id);
    try {
      if (this.#model === undefined) throw new SdkError('ERR_INTERNAL', 'Expected a loaded model.');
      const values = putTogether(message, (range) => this.#views.open(range));
      this.#send({ type: 'answer', id, answer: await this.#answer(this.#model, message, values, abort.signal) });
    } catch (error) {
      this.#send({ type: 'failed', id, error: crossing(error) });
      // A dead engine ends this process too: a lost CUDA context, above all, makes every later call fail.
      if (isSdkError(error, 'ERR_ENGINE_DIED')) this.#giveUp(error);
    } finally {
      for (const range of message.shared) this.#views.release(range);
      this.#aborts.delete(id);
    }
  }

  async #answer(model: VisionLanguageModel, call: CallMessage, values: unknown[], signal: AbortSignal) {
    const options: GenerateOptions = { ...(values.pop() as GenerateOptions), signal };
    if (call.method === 'ask') return await model.ask(values[0] as ModelImage, values[1] as string, options);
    if (call.method === 'decide') {
      return await model.decide(values[0] as ModelImage, values[1] as string, values[2] as Decidable, options);
    }
    if (call.method === 'likelihood')
      return await model.likelihood(values[0] as ModelImage | undefined, values[1] as string[], options);
    if (call.method === 'complete') {
      return await model.complete(values[0] as ModelImage | undefined, values[1] as string, options);
    }
    if (call.method === 'describe') return await model.describe(values[0] as ModelImage, options);
    const stream = model.generate(values[0] as GenerateRequest, options);
    for await (const text of stream) this.#send({ type: 'text', id: call.id, text });
    return await stream.collect();
  }

  async #onDispose(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#aborts.get(LOAD_ID)?.abort();
    try {
      await this.#model?.[Symbol.asyncDispose]();
    } finally {
      await sleep(0); // what the calls came to is sent before
      this.link?.exit(0);
    }
  }

  #giveUp(error: SdkError): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    console.error(error.message); // kept by the parent as the last words
    this.link?.exit(1);
  }

  #tellStats(model: VisionLanguageModel): void {
    let told = '';
    setInterval(() => {
      const stats = model.stats();
      const text = JSON.stringify(stats);
      if (text !== told) this.#send({ type: 'stats', stats });
      told = text;
    }, STATS_MS).unref();
  }

  #begin(id: number): AbortController {
    const abort = new AbortController();
    this.#aborts.set(id, abort);
    return abort;
  }

  #logger(): Logger {
    return {
      log: (level, message, details) => this.#send({ type: 'log', level, message, details: details && plain(details) }),
    };
  }

  #progress(): OnProgress {
    let toldAtMs = Number.NEGATIVE_INFINITY;
    let told: Progress | undefined;
    return (progress) => {
      const nowMs = performance.now();
      const isStep = progress.phase === told?.phase && progress.done < progress.total;
      if (isStep && nowMs - toldAtMs < PROGRESS_MS) return;
      toldAtMs = nowMs;
      told = progress;
      this.#send({ type: 'progress', progress });
    };
  }
}

function crossing(error: unknown): SerializedError {
  const { details, ...rest } = serializeError(error);
  return { ...rest, details: plain(details ?? {}) };
}

/** Details may hold anything; what the channel cannot carry crosses as its text. */
function plain(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).map(([key, value]) => {
      if (value instanceof Error) return [key, value.message];
      try {
        return [key, structuredClone(value)];
      } catch {
        return [key, String(value)];
      }
    }),
  );
}
