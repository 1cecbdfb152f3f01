/** A model in a process of its own, behind the interface of one in this process. */
import { type ProcessMemory, processMemory, SupervisedChild } from '../../child/index.js';
import { deserializeError, SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { linkedAbort } from '../../core/linked-abort.js';
import type { Progress } from '../../core/logger.js';
import { answerSchema, type SchemaInput } from '../../grammar/index.js';
import { type Decidable, type DecidedOption, DecidedSchema } from '../decidable.js';
import { type AskOptions, askDecided } from '../decided-schema.js';
import { createTokenStream } from '../token-stream.js';
import type {
  Answer,
  DecidedAnswer,
  DecideOptions,
  Decision,
  GenerateOptions,
  GenerateRequest,
  LikelihoodOptions,
  Likelihoods,
  ModelImage,
  ModelInfo,
  ModelProcess,
  ModelStats,
  StructuredAnswer,
  TokenStream,
  VisionLanguageModel,
} from '../types.js';
import { fromModelSchema, LOAD_ID, type LoadOptions, type ModelMethod, type ToModel } from './protocol.js';
import { type ByteRange, SharedFrames } from './shared-frames.js';
import { takeApart } from './transfer.js';

/** @internal What tests replace. */
export interface ProcessSettings {
  /** Module that calls `serveModel`. */
  readonly entry?: URL | undefined;
  /** Without a sign of life, or without an end of an aborted call, for so long the process counts as hung. */
  readonly hangMs?: number | undefined;
  /** Time to release the engine after `dispose`; then SIGKILL. */
  readonly graceMs?: number | undefined;
}

const ENTRY = new URL('./main.js', import.meta.url);
/** Longer than the longest work that blocks the process's thread: reading a tokenizer, writing graphs. */
const HANG_MS = 20_000;
const GRACE_MS = 3_000;

/**
 * Starts a process, loads the model in it, and is done when it can answer. A process that fails to load is gone, and its
 * memory with it, before the error is told.
 * @param options those of `loadModel`; the ones that are not named here cross as they are
 * @throws SdkError as `loadModel`; ERR_ENGINE_DIED when the process ends or hangs meanwhile
 */
export async function loadModelInProcess(
  directory: string,
  options: LoadOptions,
  settings: ProcessSettings = {},
): Promise<VisionLanguageModel> {
  options.signal?.throwIfAborted();
  const loading = new ProcessModel(options, settings);
  try {
    return await loading.load(directory, options);
  } catch (error) {
    await loading[Symbol.asyncDispose]();
    throw error;
  }
}

interface Call {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly onText: ((text: string) => void) | undefined;
}

class ProcessModel implements VisionLanguageModel {
  readonly process: ModelProcess;
  readonly #frames = new SharedFrames();
  readonly #child: SupervisedChild;
  readonly #calls = new Map<number, Call>();
  readonly #listeners: LoadOptions;
  readonly #hangMs: number;
  readonly #graceMs: number;
  #nextId = LOAD_ID + 1;
  #info: ModelInfo | undefined;
  #stats: ModelStats | undefined;
  /** Why there is no process any more. */
  #lost: SdkError | undefined;
  #closed: Promise<void> | undefined;

  constructor(listeners: LoadOptions, settings: ProcessSettings) {
    this.#listeners = listeners;
    this.#hangMs = settings.hangMs ?? HANG_MS;
    this.#graceMs = settings.graceMs ?? GRACE_MS;
    try {
      this.#child = new SupervisedChild({
        entry: settings.entry ?? ENTRY,
        name: 'model process',
        descriptors: [this.#frames.descriptor],
        hangMs: this.#hangMs,
        onMessage: (message) => this.#onMessage(message),
        onLine: (line) => listeners.logger?.log('debug', `model process: ${line}`),
        onLost: (error) => this.#onLost(error),
      });
    } catch (cause) {
      this.#frames[Symbol.dispose]();
      throw new SdkError('ERR_ENGINE_FAILED', `The model process could not be started: ${String(cause)}`, { cause });
    }
    const ended = this.#child.ended.finally(() => this.#frames[Symbol.dispose]());
    const pid = this.#child.pid ?? 0;
    this.process = { pid, ended, memory: (): ProcessMemory | undefined => (pid > 0 ? processMemory(pid) : undefined) };
  }

  get info(): ModelInfo {
    return this.#info!; // there from the end of `load` on, before which nobody has the model
  }

  stats(): ModelStats {
    return this.#stats!;
  }

  async load(directory: string, options: LoadOptions): Promise<VisionLanguageModel> {
    const { signal, logger, onProgress, ...plain } = options;
    const wants = { progress: onProgress !== undefined, log: logger !== undefined };
    const [loadOptions] = takeApart([plain], ['options'], () => {
      throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected no bytes in the options of loadModel.');
    }).values as [Record<string, unknown>];
    const message: ToModel = { type: 'load', directory, options: loadOptions, wants };
    this.#info = (await this.#exchange(LOAD_ID, message, undefined, signal)) as ModelInfo;
    return this;
  }

  ask<V extends DecidedOption['value']>(
    image: ModelImage,
    question: string,
    options: DecideOptions & { readonly schema: DecidedSchema<V> },
  ): Promise<DecidedAnswer<V>>;
  ask<Schema extends SchemaInput>(
    image: ModelImage,
    question: string,
    options: GenerateOptions & { readonly schema: Schema },
  ): Promise<StructuredAnswer<Schema>>;
  ask(image: ModelImage, question: string, options?: GenerateOptions): Promise<Answer>;
  async ask(image: ModelImage, question: string, given: AskOptions = {}): Promise<Answer> {
    const { schema, ...others } = given;
    if (schema instanceof DecidedSchema) return await askDecided(this, image, question, schema, others);
    const options: GenerateOptions = schema === undefined ? others : { ...others, schema };
    return await this.#call('ask', { image, question }, options);
  }

  async describe(image: ModelImage, options: GenerateOptions = {}): Promise<Answer> {
    return await this.#call('describe', { image }, options);
  }

  async decide(image: ModelImage, question: string, among: Decidable, options: DecideOptions = {}): Promise<Decision> {
    return await this.#call('decide', { image, question, among }, options);
  }

  async likelihood(
    image: ModelImage | undefined,
    texts: readonly string[],
    options: LikelihoodOptions = {},
  ): Promise<Likelihoods> {
    return await this.#call('likelihood', { image, texts }, options);
  }

  async complete(image: ModelImage | undefined, text: string, options: GenerateOptions = {}): Promise<Answer> {
    return await this.#call('complete', { image, text }, options);
  }

  generate(request: GenerateRequest, options: GenerateOptions = {}): TokenStream {
    return createTokenStream(
      (onText, signal) => this.#call('generate', { request }, { ...options, signal }, onText),
      options.signal,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const request: ToModel = { type: 'dispose' };
    await this.#child.stop(request, this.#info === undefined ? 0 : this.#graceMs);
    this.#rejectAll(disposed());
  }

  async #call<Result = Answer>(
    method: ModelMethod,
    given: Readonly<Record<string, unknown>>,
    options: GenerateOptions,
    onText?: (text: string) => void,
  ): Promise<Result> {
    if (this.#closed) throw disposed();
    if (this.#lost) throw this.#lost;
    const { signal, schema: wanted, ...others } = options;
    signal?.throwIfAborted();
    // Functions do not cross: zod stays here, its JSON Schema goes there, and each side checks the answer.
    const schema = wanted === undefined ? undefined : answerSchema(wanted);
    const plain =
      schema === undefined ? others : { ...others, schema: schema.jsonSchema, schemaLengths: schema.lengthUnit };
    if (this.#calls.size >= LIMITS.processCalls) throw tooManyCalls();
    const ranges: ByteRange[] = [];
    try {
      const share = (bytes: Uint8Array) => {
        const range = this.#frames.write(bytes);
        ranges.push(range);
        return range;
      };
      const transfer = takeApart([...Object.values(given), plain], [...Object.keys(given), 'options'], share);
      const id = this.#nextId++;
      const message: ToModel = {
        type: 'call',
        id,
        method,
        values: [...transfer.values],
        shared: transfer.shared.map(({ path, ...range }) => ({ path: [...path], ...range })),
      };
      const result = (await this.#exchange(id, message, onText, signal)) as Result;
      return schema === undefined ? result : { ...result, value: schema.parse((result as Answer).text) };
    } finally {
      for (const range of ranges) this.#frames.release(range);
    }
  }

  /** One message and what comes of it. An abort is passed on and waited for; a process that does not heed it is killed. */
  async #exchange(
    id: number,
    message: ToModel,
    onText: ((text: string) => void) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    if (this.#calls.size === 0) this.#child.ref();
    let timer: NodeJS.Timeout | undefined;
    // A load has nothing to lose that the next one would miss; a call may be inside one long step of the engine.
    const patienceMs = id === LOAD_ID ? this.#graceMs : this.#hangMs;
    using abort = linkedAbort([signal]);
    try {
      return await new Promise((resolve, reject) => {
        this.#calls.set(id, { resolve, reject, onText });
        abort.signal.addEventListener('abort', () => {
          this.#child.send({ type: 'abort', id } satisfies ToModel);
          timer = setTimeout(() => this.#child.kill(hung(patienceMs)), patienceMs);
        });
        this.#child.send(message);
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(timer);
      this.#calls.delete(id);
      if (this.#calls.size === 0 && !this.#closed) this.#child.unref();
    }
  }

  #onMessage(received: unknown): void {
    const parsed = fromModelSchema.safeParse(received);
    if (!parsed.success) {
      this.#listeners.logger?.log('warn', 'the model process said something unknown', {
        problem: parsed.error.message,
      });
      return;
    }
    const message = parsed.data;
    switch (message.type) {
      case 'loaded':
        this.#stats = message.stats as ModelStats;
        this.#calls.get(LOAD_ID)?.resolve(message.info);
        return;
      case 'stats':
        this.#stats = message.stats as ModelStats;
        return;
      case 'progress':
        this.#listeners.onProgress?.(message.progress as Progress);
        return;
      case 'log':
        this.#listeners.logger?.log(message.level, message.message, message.details);
        return;
      case 'text':
        this.#calls.get(message.id)?.onText?.(message.text);
        return;
      case 'answer':
        this.#calls.get(message.id)?.resolve(message.answer);
        return;
      case 'failed':
        this.#calls.get(message.id)?.reject(deserializeError(message.error));
        return;
    }
  }

  #onLost(error: SdkError): void {
    this.#lost = error;
    this.#rejectAll(error);
  }

  #rejectAll(error: SdkError): void {
    for (const { reject } of this.#calls.values()) reject(error);
  }
}

function disposed(): SdkError {
  return new SdkError('ERR_DISPOSED', 'Expected a loaded model but it was disposed. Load it again with loadModel.');
}

function tooManyCalls(): SdkError {
  const most = LIMITS.processCalls;
  return new SdkError(
    'ERR_BUSY',
    `Expected at most ${most} concurrent calls of the model process but received one more.`,
    {
      details: { most },
    },
  );
}

function hung(hangMs: number): SdkError {
  return new SdkError(
    'ERR_ENGINE_DIED',
    `Expected the model process to end what was aborted within ${hangMs} ms, but it hangs. It was killed.`,
    { details: { how: 'hung', hangMs } },
  );
}
