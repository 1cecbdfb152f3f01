/** A model behind an OpenAI-compatible server, behind the interface of one in this process. */
import { createHash } from 'node:crypto';
import { SdkError, toSdkError } from '../../core/errors.js';
import { linkedAbort } from '../../core/linked-abort.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { refuseUnknownOptions } from '../../core/option-names.js';
import { registerSecret } from '../../core/redaction.js';
import { locateObjects, requireFitting } from '../../geometry/index.js';
import type { SchemaInput } from '../../grammar/index.js';
import { createTextGrounder } from '../../grounding/index.js';
import { expireAfter } from '../deadline.js';
import { type Decidable, type DecidedOption, DecidedSchema } from '../decidable.js';
import { type AskOptions, askDecided } from '../decided-schema.js';
import { decidedOptions, optionsOf } from '../decision.js';
import { incompleteAnswer } from '../incomplete-answer.js';
import { DEFAULT_PROMPTS, questionAbout } from '../questions.js';
import { createTokenStream } from '../token-stream.js';
import type {
  Answer,
  DecidedAnswer,
  DecideOptions,
  Decision,
  GenerateOptions,
  GenerateRequest,
  Likelihoods,
  ModelImage,
  ModelInfo,
  ModelStats,
  StructuredAnswer,
  TokenStream,
  VisionLanguageModel,
} from '../types.js';
import { withRetries } from './attempts.js';
import { Circuit } from './circuit.js';
import { probabilitiesOf, tokensFor } from './decided.js';
import { type RemoteModelOptions, type ResolvedRemote, resolveRemote } from './options.js';
import { type Found, probe } from './probe.js';
import { type RemoteAnswer, readAnswer } from './reading.js';
import { bodyOf, type CheckedRequest, checkedRequest, unsupported } from './request-body.js';
import { RemoteServer } from './server.js';
import { Turns } from './turns.js';
import { objectOf, timingsOf, usageOf } from './whole-answer.js';

/**
 * @throws SdkError ERR_ARGUMENT_INVALID, ERR_CONFIG_INVALID; unless it connects later ERR_MODEL_NOT_FOUND for a model that
 * the server does not have, ERR_REMOTE_*, ERR_BUSY
 */
export async function loadRemoteModel(options: RemoteModelOptions): Promise<VisionLanguageModel> {
  refuseUnknownOptions(options, ['remote', 'logger', 'signal'], 'loadModel of a remote model');
  const { remote, logger = silentLogger, signal } = options;
  signal?.throwIfAborted();
  const model = new RemoteModel(await resolveRemote(remote), logger);
  try {
    if (remote.connect !== 'later') await model.connect(signal);
    return model;
  } catch (error) {
    await model[Symbol.asyncDispose]();
    throw error;
  }
}

/** An answer on its way. */
interface Call {
  readonly request: CheckedRequest;
  readonly onText: ((text: string) => void) | undefined;
  readonly signal: AbortSignal;
  readonly startedMs: number;
}

/** As many as servers tell of; OpenAI's and vLLM's limit. */
const FIRST_LIKELIEST = 20;

class RemoteModel implements VisionLanguageModel {
  readonly #remote: ResolvedRemote;
  readonly #server: RemoteServer;
  readonly #circuit: Circuit;
  readonly #turns: Turns;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  readonly #forget: () => void;
  readonly #running = new Set<Promise<unknown>>();
  #found: Found | undefined;
  #connecting: Promise<Found> | undefined;

  constructor(remote: ResolvedRemote, logger: Logger) {
    this.#remote = remote;
    this.#logger = logger;
    this.#server = new RemoteServer(remote);
    this.#circuit = new Circuit(this.#server.where, remote.circuit);
    this.#turns = new Turns(remote.concurrency);
    this.#forget = remote.key === undefined ? () => {} : registerSecret(remote.key);
  }

  get info(): ModelInfo {
    const { model, boxes } = this.#remote;
    const { where } = this.#server;
    const found = this.#found;
    const writesBoxes = boxes !== undefined || found?.sendsObjects === true;
    return {
      name: model,
      contentHash: createHash('sha256').update(`remote ${where} ${model}`).digest('hex'),
      engine: {
        backend: 'remote',
        device: where,
        numerics: 'unknown',
        weights: 'unknown',
        contextLength: found?.contextLength,
        capabilities: {
          attentionTaps: false,
          logProbabilities: found?.logProbabilities ?? this.#remote.logProbabilities,
          boxes: found === undefined && boxes === undefined ? undefined : writesBoxes,
          pictures: this.#remote.pictures !== undefined,
        },
      },
      writesBoxes,
      locates: writesBoxes,
      prompts: DEFAULT_PROMPTS,
      notices: [...(found?.notices ?? [])],
    };
  }

  stats(): ModelStats {
    return {
      waiting: this.#turns.waiting,
      running: this.#turns.running,
      preemptions: 0,
      sequences: 0,
      sequenceBytes: 0,
      cachedImages: 0,
      cachedImageBytes: 0,
      circuit: this.#circuit.state,
    };
  }

  /** Finds out what the server has and can, once. @throws as `loadRemoteModel` */
  async connect(signal: AbortSignal | undefined): Promise<Found> {
    if (this.#found !== undefined) return this.#found;
    using abort = linkedAbort([signal, this.#closing.signal]);
    const { timeoutMs } = this.#remote;
    this.#connecting ??= this.#exchange(() => probe(this.#server, this.#remote, this.#closing.signal), {
      isTold: () => false,
      endMs: performance.now() + timeoutMs,
      signal: this.#closing.signal,
    }).finally(() => (this.#connecting = undefined));
    this.#found = await endedBy(this.#connecting, abort.signal);
    return this.#found;
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
    const { temperature = 0 } = options;
    return await this.#answer(questionAbout(image, question), { ...options, temperature }, options.signal);
  }

  async describe(image: ModelImage, options: GenerateOptions = {}): Promise<Answer> {
    const { temperature = 0, priority = 'description' } = options;
    return await this.ask(image, DEFAULT_PROMPTS.describe, { ...options, temperature, priority });
  }

  async decide(image: ModelImage, question: string, among: Decidable, options: DecideOptions = {}): Promise<Decision> {
    const decided = optionsOf(among);
    const request = questionAbout(image, question);
    const wanted = { ...options, maxNewTokens: tokensFor(decided), temperature: 0, logProbabilities: FIRST_LIKELIEST };
    const { logProbabilities } = await this.connect(options.signal);
    if (!logProbabilities)
      throw unsupported('decide', 'a decision: this server tells no probabilities (ask with a schema instead)');
    const { tokens = [], usage, timings, notices } = await this.#answer(request, wanted, options.signal);
    const probabilities = probabilitiesOf(decided, tokens);
    const ranked = decidedOptions(decided, probabilities);
    const coverage = Math.min(
      1,
      probabilities.reduce((sum, probability) => sum + probability, 0),
    );
    return { ...ranked[0]!, options: ranked, coverage, ...(notices && { notices }), usage, timings };
  }

  async likelihood(): Promise<Likelihoods> {
    throw unsupported('likelihood', 'the likelihood of a text that it has not written');
  }

  async complete(): Promise<Answer> {
    throw unsupported('complete', 'a text that is gone on with');
  }

  generate(request: GenerateRequest, options: GenerateOptions = {}): TokenStream {
    return createTokenStream((onText, signal) => this.#answer(request, options, signal, onText), options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(
      new SdkError('ERR_DISPOSED', 'Expected a loaded model but it was disposed. Load it again with loadModel.'),
    );
    await Promise.allSettled(this.#running);
    this.#server[Symbol.dispose]();
    this.#forget();
  }

  /** @param onText undefined: nothing is told before the end, so that half an answer may be asked for again */
  async #answer(
    request: GenerateRequest,
    options: GenerateOptions,
    readerSignal: AbortSignal | undefined,
    onText?: (text: string) => void,
  ): Promise<Answer> {
    const startedMs = performance.now();
    this.#closing.signal.throwIfAborted();
    readerSignal?.throwIfAborted();
    const checked = checkedRequest(request, options);
    const { camera, deadlineMs } = checked.options;
    const last = checked.images.at(-1);
    if (camera !== undefined && last !== undefined) requireFitting(camera, last);
    using abort = linkedAbort([readerSignal, this.#closing.signal]);
    const { timeoutMs } = this.#remote;
    const timer = deadlineMs === undefined ? this.#endAfter(timeoutMs, abort) : expireAfter(deadlineMs, abort);
    const answering = this.#run({ request: checked, onText, signal: abort.signal, startedMs });
    this.#running.add(answering);
    try {
      return await answering;
    } catch (error) {
      if (abort.signal.aborted) throw abort.signal.reason;
      throw toSdkError(error);
    } finally {
      clearTimeout(timer);
      this.#running.delete(answering);
    }
  }

  async #run({ request, onText, signal, startedMs }: Call): Promise<Answer> {
    const { options } = request;
    const { sendsObjects, logProbabilities } = await this.connect(signal);
    if (options.verify && !sendsObjects) throw unsupported('verify', 'the verification of boxes');
    if (options.logProbabilities !== undefined && !logProbabilities)
      throw unsupported('logProbabilities', 'probabilities: this server tells none');
    const body = await bodyOf(request, this.#remote);
    let told = false;
    const tell = (text: string) => {
      if (onText === undefined) return;
      told = true;
      onText(text);
    };
    const endMs = startedMs + (options.deadlineMs ?? this.#remote.timeoutMs);
    const { maxNewTokens, priority } = options;
    const { model } = this.#remote;
    const exchange = async () => {
      const sentMs = performance.now();
      const response = await this.#server.open({ method: 'POST', path: '/chat/completions', body, signal });
      const read = { server: this.#server, model, maxNewTokens, sentMs, onText: tell, signal };
      return { written: await readAnswer(response, read), sentMs, endedMs: performance.now() };
    };
    const { written, sentMs, endedMs } = await this.#turns.take(priority, signal, () =>
      this.#exchange(exchange, { isTold: () => told, endMs, signal }),
    );
    const usage = usageOf(written, request);
    const timings = timingsOf(written, { startedMs, sentMs, endedMs });
    if (options.schema !== undefined && written.finishReason === 'length')
      throw incompleteAnswer(written.text, maxNewTokens);
    const value = options.schema?.parse(written.text);
    const objects = await this.#objectsOf(written, request);
    const { text, finishReason, tokens, extension } = written;
    this.#logger.log('debug', 'generated', { ...usage, ...timings, finishReason });
    return {
      text,
      ...(extension?.sentence === undefined ? {} : { sentence: extension.sentence }),
      objects,
      ...(options.schema === undefined ? {} : { value }),
      ...(options.logProbabilities === undefined ? {} : { tokens }),
      ...(extension === undefined || extension.warnings.length === 0 ? {} : { notices: extension.warnings }),
      finishReason,
      usage,
      timings,
    };
  }

  #exchange<T>(
    exchange: () => Promise<T>,
    options: { readonly isTold: () => boolean; readonly endMs: number; readonly signal: AbortSignal },
  ): Promise<T> {
    const { retries } = this.#remote;
    return withRetries(exchange, { circuit: this.#circuit, retries, logger: this.#logger, ...options });
  }

  async #objectsOf({ text, extension }: RemoteAnswer, { images, options, question }: CheckedRequest) {
    const image = images.at(-1);
    if (image === undefined) return [];
    const { boxes } = this.#remote;
    const found =
      extension !== undefined
        ? extension.objects.flatMap((object) => objectOf(object, image))
        : boxes === undefined
          ? []
          : await createTextGrounder(boxes).ground({ text, image, tokens: [], question });
    return options.camera === undefined ? found : locateObjects(found, image, options.camera);
  }

  #endAfter(timeoutMs: number, abort: { abort(reason: unknown): void }): NodeJS.Timeout {
    return setTimeout(() => {
      const message = `Expected an answer of ${this.#server.where} within ${timeoutMs} ms but there was none. Raise remote.timeoutMs, or give the request a deadlineMs.`;
      abort.abort(new SdkError('ERR_REMOTE_UNREACHABLE', message, { details: { how: 'timeout', timeoutMs } }));
    }, timeoutMs);
  }
}

/** The promise, or the end of waiting for it; others may go on waiting. */
async function endedBy<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
