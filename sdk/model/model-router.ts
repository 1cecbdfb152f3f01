/** Two models as one: the local one first, a remote one for what that is not sure of or has no time for. */
import { isSdkError, SdkError } from '../core/errors.js';
import { type Logger, silentLogger } from '../core/logger.js';
import { refuseUnknownOptions } from '../core/option-names.js';
import type { SchemaInput } from '../grammar/index.js';
import { PRIORITIES, type Priority } from '../inference/priority.js';
import { type Decidable, type DecidedOption, DecidedSchema } from './decidable.js';
import { type AskOptions, askDecided } from './decided-schema.js';
import { createTokenStream } from './token-stream.js';
import type {
  Answer,
  AnsweredBy,
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
} from './types.js';

/** Who is asked, and when. With neither threshold nothing ever goes to the remote model, so one of them is needed. */
export interface ModelRouterOptions {
  /** Asked first, and whenever the remote one cannot answer. Of the router from then on, as the other. */
  readonly local: VisionLanguageModel;
  /** As a rule one of `loadModel({ remote: { …, connect: 'later' } })`. What is sent to it is its own matter. */
  readonly remote: VisionLanguageModel;
  /**
   * 0–1: the remote model is asked where the local one finds its own answer less probable: a decision by its probability, a
   * text by the geometric mean of its tokens'. A stream then tells nothing before it is known whose it is: what has been
   * read cannot be taken back. Left out: no answer is judged.
   */
  readonly minimumProbability?: number | undefined;
  /**
   * The remote model is asked first where so many requests, as urgent or more, wait for the local one. Left out: only what
   * the local one refuses with ERR_BUSY goes there.
   */
  readonly maximumWaiting?: number | undefined;
  /** What may go to the remote model. Default `urgent` and `question`: descriptions and watches are asked all day. */
  readonly priorities?: readonly Priority[] | undefined;
  readonly logger?: Logger | undefined;
}

const OPTIONS = {
  local: true,
  remote: true,
  minimumProbability: true,
  maximumWaiting: true,
  priorities: true,
  logger: true,
} satisfies Record<keyof ModelRouterOptions, true>;

/**
 * One model of two. `info` is the local one's; `answeredBy` of an answer says whose it is and why. An answer of the local
 * model that the remote one was to improve and could not is given with a notice.
 * @throws SdkError ERR_ARGUMENT_INVALID
 *
 * @example
 * const remote = await loadModel({ remote: { url, model, pictures: { send: true }, connect: 'later' } });
 * await using model = createModelRouter({ local: await loadModel(folder), remote, minimumProbability: 0.6 });
 */
export function createModelRouter(options: ModelRouterOptions): VisionLanguageModel {
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'createModelRouter');
  const { minimumProbability: minimum, maximumWaiting: most, priorities } = options;
  const isShare = minimum === undefined || (typeof minimum === 'number' && minimum >= 0 && minimum <= 1);
  check('minimumProbability', minimum, 'a number from 0 to 1', isShare);
  check(
    'maximumWaiting',
    most,
    'a whole number from 1',
    most === undefined || (Number.isSafeInteger(most) && most >= 1),
  );
  const isKnown = (each: unknown) => (PRIORITIES as readonly unknown[]).includes(each);
  check('priorities', priorities, `a list of ${PRIORITIES.join(', ')}`, priorities?.every(isKnown) ?? true);
  if (minimum === undefined && most === undefined)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      'Expected minimumProbability, maximumWaiting or both for createModelRouter but received neither.',
    );
  return new ModelRouter(options);
}

/** What is asked, of either model. */
interface Question<T> {
  readonly ask: (model: VisionLanguageModel, options: GenerateOptions) => Promise<T>;
  readonly options: GenerateOptions;
  /** undefined: nobody can tell. */
  readonly probabilityOf: (answer: T) => number | undefined;
  /** Whether part of the answer has been told: then nobody else can answer. */
  readonly isTold?: (() => boolean) | undefined;
}

type Whose = { readonly answeredBy?: AnsweredBy | undefined; readonly notices?: readonly string[] | undefined };

/** The remote model's part of the time that is left, so that the local one can still answer. */
const REMOTE_SHARE = { busy: 0.5, unsure: 0.9 };

class ModelRouter implements VisionLanguageModel {
  readonly #local: VisionLanguageModel;
  readonly #remote: VisionLanguageModel;
  readonly #minimum: number | undefined;
  readonly #mostWaiting: number;
  readonly #priorities: readonly Priority[];
  readonly #logger: Logger;
  #closed: Promise<void> | undefined;

  constructor(options: ModelRouterOptions) {
    this.#local = options.local;
    this.#remote = options.remote;
    this.#minimum = options.minimumProbability;
    this.#mostWaiting = options.maximumWaiting ?? Number.POSITIVE_INFINITY;
    this.#priorities = options.priorities ?? ['urgent', 'question'];
    this.#logger = options.logger ?? silentLogger;
  }

  get info(): ModelInfo {
    return this.#local.info;
  }

  get process(): ModelProcess | undefined {
    return this.#local.process;
  }

  stats(): ModelStats {
    return { ...this.#local.stats(), circuit: this.#remote.stats().circuit };
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
    return await this.#answer((model, asked) => model.ask(image, question, asked), options);
  }

  async describe(image: ModelImage, options: GenerateOptions = {}): Promise<Answer> {
    const { priority = 'description' } = options;
    // In the words of the local model, whoever answers.
    const { describe } = this.info.prompts;
    return await this.#answer(
      (model, asked) => (model === this.#local ? model.describe(image, asked) : model.ask(image, describe, asked)),
      { ...options, priority },
    );
  }

  async decide(image: ModelImage, question: string, among: Decidable, options: DecideOptions = {}): Promise<Decision> {
    return await this.#route({
      ask: (model, { signal, priority, caller, deadlineMs }) =>
        model.decide(image, question, among, { signal, priority, caller, deadlineMs }),
      options,
      probabilityOf: ({ probability }) => probability,
    });
  }

  /** Of the local model, always: likelihoods of two models are not comparable. */
  likelihood(
    image: ModelImage | undefined,
    texts: readonly string[],
    options: LikelihoodOptions = {},
  ): Promise<Likelihoods> {
    return this.#local.likelihood(image, texts, options);
  }

  complete(image: ModelImage | undefined, text: string, options: GenerateOptions = {}): Promise<Answer> {
    return this.#local.complete(image, text, options);
  }

  generate(request: GenerateRequest, options: GenerateOptions = {}): TokenStream {
    return createTokenStream(async (onText, signal) => {
      let told = false;
      const tell = (text: string) => {
        told = true;
        onText(text);
      };
      const isHeld = this.#minimum !== undefined && this.#mayLeave(options.priority);
      const ask = async (model: VisionLanguageModel, asked: GenerateOptions) => {
        const stream = model.generate(request, asked);
        if (model === this.#remote || !isHeld) for await (const text of stream) tell(text);
        return await stream.collect();
      };
      const answer = await this.#answer(ask, { ...options, signal }, () => told);
      if (!told) onText(answer.text);
      return answer;
    }, options.signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const closing = [this.#remote, this.#local].map((model) => model[Symbol.asyncDispose]());
    for (const result of await Promise.allSettled(closing)) if (result.status === 'rejected') throw result.reason;
  }

  /** A text: the local model is asked to say how probable each token was. */
  async #answer(
    ask: Question<Answer>['ask'],
    options: GenerateOptions,
    isTold?: Question<Answer>['isTold'],
  ): Promise<Answer> {
    const isJudged = this.#minimum !== undefined && this.#mayLeave(options.priority);
    const isAsked = options.logProbabilities !== undefined;
    return await this.#route({
      ask: async (model, asked) => {
        if (model !== this.#local || !isJudged || isAsked) return await ask(model, asked);
        return await ask(model, { ...asked, logProbabilities: 0 });
      },
      options,
      probabilityOf: meanProbability,
      isTold,
    }).then(({ tokens, ...answer }) => (isAsked && tokens !== undefined ? { ...answer, tokens } : answer));
  }

  async #route<T extends Whose>({ ask, options, probabilityOf, isTold }: Question<T>): Promise<T> {
    const startedMs = performance.now();
    const { signal, deadlineMs } = options;
    const left = (share = 1) =>
      deadlineMs === undefined
        ? {}
        : { deadlineMs: Math.max(1, share * (deadlineMs - (performance.now() - startedMs))) };
    let failure: unknown;
    const askRemote = async (reason: 'busy' | 'unsure'): Promise<T | undefined> => {
      try {
        const answer = await ask(this.#remote, { ...options, ...left(REMOTE_SHARE[reason]) });
        this.#logger.log('debug', 'the remote model answered', { reason });
        return this.#by(this.#remote, reason, answer);
      } catch (error) {
        signal?.throwIfAborted();
        if (isTold?.() || isSdkError(error, 'ERR_DISPOSED')) throw error;
        this.#logger.log('warn', 'the remote model could not answer; the local one does', { reason, error });
        failure = error;
        return undefined;
      }
    };
    const mayLeave = this.#mayLeave(options.priority);
    if (mayLeave && this.#waiting(options.priority) >= this.#mostWaiting) {
      const answer = await askRemote('busy');
      if (answer !== undefined) return answer;
    }
    let own: T;
    try {
      own = await ask(this.#local, { ...options, ...left() });
    } catch (error) {
      const isFull = isSdkError(error, 'ERR_BUSY') && mayLeave && failure === undefined && !isTold?.();
      const answer = isFull ? await askRemote('busy') : undefined;
      if (answer !== undefined) return answer;
      throw error;
    }
    if (!this.#isUnsure(mayLeave ? probabilityOf(own) : undefined)) return this.#by(this.#local, 'first', own);
    const better = failure === undefined ? await askRemote('unsure') : undefined;
    if (better !== undefined) return better;
    const why = failure instanceof Error ? failure.message : String(failure);
    const notice = `The model on this device is not sure of this, and the remote one could not be asked: ${why}`;
    return this.#by(this.#local, 'remote-failed', { ...own, notices: [...(own.notices ?? []), notice] });
  }

  #by<T extends Whose>(model: VisionLanguageModel, reason: AnsweredBy['reason'], answer: T): T {
    const { name, contentHash } = model.info;
    return { ...answer, answeredBy: { name, contentHash, isRemote: model === this.#remote, reason } };
  }

  #isUnsure(probability: number | undefined): boolean {
    return probability !== undefined && this.#minimum !== undefined && probability < this.#minimum;
  }

  #mayLeave(priority: Priority = 'question'): boolean {
    return this.#priorities.includes(priority);
  }

  #waiting(priority: Priority = 'question'): number {
    const { waiting } = this.#local.stats();
    const urgent = PRIORITIES.slice(0, PRIORITIES.indexOf(priority) + 1);
    return urgent.reduce((sum, each) => sum + waiting[each], 0);
  }
}

/** Nothing at all is no answer to be sure of. */
function meanProbability({ tokens }: Answer): number | undefined {
  if (tokens === undefined) return undefined;
  if (tokens.length === 0) return 0;
  return Math.exp(tokens.reduce((sum, { logProbability }) => sum + logProbability, 0) / tokens.length);
}

function check(name: string, value: unknown, expected: string, isValid: boolean): void {
  if (isValid) return;
  const message = `Expected ${expected} for ${name} but received ${JSON.stringify(value)}.`;
  throw new SdkError('ERR_ARGUMENT_INVALID', message, { details: { option: name } });
}
