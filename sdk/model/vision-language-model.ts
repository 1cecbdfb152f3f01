/** Processor, tokenizer, engine and grounder joined: messages in, grounded answers out. */
import { SdkError, toSdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/logger.js';
import type { Engine } from '../engine/engine.js';
import { requireFitting } from '../geometry/index.js';
import { AnswerGrammars, type PreparedSchema, type SchemaInput, type SchemaMask } from '../grammar/index.js';
import type { BoxConvention } from '../grounding/box-reader.js';
import type { Attend } from '../grounding/index.js';
import { sentenceOf } from '../grounding/sentence.js';
import type { Sampler } from '../inference/generation.js';
import type { PictureProcessor } from '../inference/generation-job.js';
import { Inference, type InferenceOptions } from '../inference/inference.js';
import { hasPenalties, Penalties, penaltyStretch } from '../inference/penalties.js';
import type { SamplingOptions } from '../inference/sampling.js';
import type { TokenMask } from '../inference/token-mask.js';
import type { ChatTemplate } from '../text/chat-template.js';
import { completionPrompt, type Prompt, type PromptMessage, renderPrompt } from '../text/prompt.js';
import type { Tokenizer } from '../text/tokenizer.js';
import {
  type FoundObjects,
  type GroundingParts,
  groundAnswer,
  type Looked,
  sumOfUsage,
  type WrittenAnswer,
} from './answer-objects.js';
import { answerTokens } from './answer-tokens.js';
import { expireAfter } from './deadline.js';
import { type Decidable, type DecidedOption, DecidedSchema } from './decidable.js';
import { type AskOptions, askDecided } from './decided-schema.js';
import { candidatesOf, decidedOptions, optionsOf } from './decision.js';
import {
  type InternalGenerateOptions,
  type ResolvedOptions,
  resolveOptions,
  type SamplingDefaults,
} from './generate-options.js';
import { incompleteAnswer } from './incomplete-answer.js';
import { likelihoodsOf, requireRoom, tokensOfTexts } from './likelihoods.js';
import { layoutOf, splitMessages } from './messages.js';
import { languageNotice } from './prompt-notices.js';
import { questionAbout, questionAlone } from './questions.js';
import { createTokenStream } from './token-stream.js';
import { fitConversation, roomForPrompt, truncationNotice, truncationOf } from './truncation.js';
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
  ModelStats,
  StructuredAnswer,
  TokenStream,
  Usage,
  VisionLanguageModel,
} from './types.js';

/** What `loadModel` assembles; tests put fakes in. The model owns the engine from here on. */
export interface ModelParts extends GroundingParts {
  readonly info: ModelInfo;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  readonly processor: PictureProcessor;
  readonly sampling: SamplingDefaults & { readonly eosTokenIds: readonly number[] };
  readonly createSampler: (options: SamplingOptions & { readonly seed: number }) => Sampler;
  /** How the model writes boxes; undefined: it does not. */
  readonly boxes?: Pick<BoxConvention, 'labelKey' | 'boxKey'> | undefined;
  readonly imageCache: InferenceOptions['imageCache'];
  readonly keyValueCache?: InferenceOptions['keyValueCache'];
  /** Default `LIMITS.requestQueueLength`. */
  readonly maxWaiting?: number | undefined;
  readonly logger: Logger;
}

/** A model of its parts, which it owns from then on and disposes of. */
export function createModel(parts: ModelParts): VisionLanguageModel {
  return new ComposedModel(parts);
}

/** A request that has passed every check that needs no engine. */
interface PreparedRequest {
  readonly prompt: Prompt;
  /** The text of the user's last turn. */
  readonly question: string;
  readonly images: readonly ModelImage[];
  /** Of the answer, for people. */
  readonly notices: readonly string[];
  readonly options: ResolvedOptions;
}

class ComposedModel implements VisionLanguageModel {
  readonly info: ModelInfo;
  readonly #parts: ModelParts;
  readonly #inference: Inference;
  readonly #grammars: AnswerGrammars;
  /** Calls that run or wait. */
  readonly #running = new Set<AbortController>();
  #closed: Promise<void> | undefined;

  constructor(parts: ModelParts) {
    const { engine, tokenizer, processor, imageCache, keyValueCache, maxWaiting } = parts;
    const stopIds = new Set(parts.sampling.eosTokenIds);
    this.info = parts.info;
    this.#parts = parts;
    this.#grammars = new AnswerGrammars(tokenizer, stopIds);
    this.#inference = new Inference({
      engine,
      tokenizer,
      processor,
      stopIds,
      imageCache,
      keyValueCache,
      maxWaiting: maxWaiting ?? LIMITS.requestQueueLength,
    });
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
    return await this.generate(questionAbout(image, question), { ...options, temperature }).collect();
  }

  async decide(
    image: ModelImage,
    question: string,
    among: Decidable,
    { signal, ...options }: DecideOptions = {},
  ): Promise<Decision> {
    const decided = optionsOf(among);
    const candidates = candidatesOf(decided, this.#parts.tokenizer);
    const maxNewTokens = Math.max(...candidates.map(({ tokens }) => tokens.length));
    const request = questionAbout(image, question);
    const startedMs = performance.now();
    const { output, prepared } = await this.#tracked(request, { ...options, maxNewTokens }, signal, async (call) => {
      const { prompt, images, options: resolved } = call.prepared;
      const { ids: promptIds, imagePositions } = prompt;
      const { priority, caller, deadlineMs } = resolved;
      const place = { promptIds, imagePositions, images, priority, caller, deadlineMs, signal: call.signal };
      const output = await this.#inference.score({ ...place, candidates, optionCount: decided.length });
      return { output, prepared: call.prepared };
    });
    const { probabilities, reusedTokens, reusedImages, preemptions, queueMs, imageMs, prefillMs, branchMs } = output;
    const ranked = decidedOptions(decided, probabilities, this.#parts.scores?.yesNo);
    const decision: Decision = {
      ...ranked[0]!,
      options: ranked,
      coverage: Math.min(
        1,
        probabilities.reduce((sum, probability) => sum + probability, 0),
      ),
      ...noticed(prepared),
      usage: {
        promptTokens: prepared.prompt.ids.length,
        reusedTokens,
        generatedTokens: 0,
        draftedTokens: 0,
        acceptedTokens: 0,
        images: prepared.images.length,
        reusedImages,
        preemptions,
      },
      timings: {
        queueMs,
        imageMs,
        prefillMs,
        timeToFirstTokenMs: imageMs + prefillMs,
        decodeMs: branchMs,
        engineCalls: output.engineCalls,
        tokensPerSecond: 0,
        totalMs: performance.now() - startedMs,
      },
    };
    this.#parts.logger.log('debug', 'decided', { ...decision.usage, ...decision.timings });
    return decision;
  }

  async likelihood(
    image: ModelImage | undefined,
    texts: readonly string[],
    { signal, prompt: asked = this.info.prompts.describe, ...options }: LikelihoodOptions = {},
  ): Promise<Likelihoods> {
    const tokens = tokensOfTexts(texts, this.#parts.tokenizer);
    const longest = Math.max(...tokens.map(({ length }) => length));
    const request = image === undefined ? questionAlone(asked) : questionAbout(image, asked);
    const startedMs = performance.now();
    return await this.#tracked(request, { ...options, maxNewTokens: longest }, signal, async (call) => {
      const { prompt, images, options: resolved } = call.prepared;
      const { ids: promptIds, imagePositions } = prompt;
      requireRoom(promptIds.length, longest, this.#parts.engine.info.contextLength);
      const { priority, caller, deadlineMs } = resolved;
      const place = { promptIds, imagePositions, images, priority, caller, deadlineMs, signal: call.signal };
      const output = await this.#inference.likelihood({ ...place, texts: tokens });
      return likelihoodsOf(texts, tokens, output, { promptTokens: promptIds.length, startedMs });
    });
  }

  async describe(image: ModelImage, options: GenerateOptions = {}): Promise<Answer> {
    const { temperature = 0, priority = 'description' } = options;
    return await this.ask(image, this.info.prompts.describe, { ...options, temperature, priority });
  }

  stats(): ModelStats {
    return this.#inference.stats;
  }

  async complete(image: ModelImage | undefined, text: string, options: GenerateOptions = {}): Promise<Answer> {
    if (typeof text !== 'string' || (text === '' && image === undefined)) {
      throw new SdkError('ERR_PROMPT_INVALID', 'Expected a text to continue but received none.');
    }
    const content = [
      ...(image === undefined ? [] : [{ type: 'image', image } as const]),
      { type: 'text', text } as const,
    ];
    return await this.generate({ messages: [{ role: 'user', content }], layout: 'plain' }, options).collect();
  }

  generate(request: GenerateRequest, options: InternalGenerateOptions = {}): TokenStream {
    return createTokenStream((onText, signal) => this.#run(request, options, onText, signal), options.signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const reason = disposed();
    for (const abort of this.#running) abort.abort(reason);
    await this.#inference.close(reason);
    await this.#parts.engine[Symbol.asyncDispose]();
  }

  async #run(
    request: GenerateRequest,
    options: InternalGenerateOptions,
    onText: (text: string) => void,
    readerSignal: AbortSignal,
  ): Promise<Answer> {
    const startedMs = performance.now();
    return await this.#tracked(request, options, readerSignal, ({ prepared, signal }) =>
      this.#answer(prepared, onText, signal, startedMs),
    );
  }

  /** Runs `work` until it ends, its reader leaves, its deadline comes or the model is disposed. */
  async #tracked<T>(
    request: GenerateRequest,
    options: InternalGenerateOptions,
    readerSignal: AbortSignal | undefined,
    work: (call: { readonly prepared: PreparedRequest; readonly signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    if (this.#closed) throw disposed();
    readerSignal?.throwIfAborted();
    const prepared = this.#prepare(request, options);
    // Not AbortSignal.any: on Node 20 a signal that lives long keeps a reference for every call.
    const abort = new AbortController();
    const onLeave = () => abort.abort(readerSignal?.reason);
    readerSignal?.addEventListener('abort', onLeave, { once: true });
    this.#running.add(abort);
    const timer = expireAfter(prepared.options.deadlineMs, abort);
    try {
      return await work({ prepared, signal: abort.signal });
    } catch (error) {
      throw abort.signal.aborted ? error : toSdkError(error);
    } finally {
      clearTimeout(timer);
      this.#running.delete(abort);
      readerSignal?.removeEventListener('abort', onLeave);
    }
  }

  #prepare(request: GenerateRequest, options: InternalGenerateOptions): PreparedRequest {
    const resolved = resolveOptions(options, this.#parts.sampling);
    const { messages, images } = splitMessages(request);
    const { template, tokenizer } = this.#parts;
    const isPlain = layoutOf(request) === 'plain';
    const render = (given: readonly PromptMessage[]) =>
      isPlain ? completionPrompt(tokenizer, given) : renderPrompt(template, tokenizer, given);
    const { contextLength } = this.#parts.engine.info;
    const isCut = truncationOf(request) === 'oldest-turns';
    const mostTokens = isCut ? roomForPrompt(contextLength, resolved.maxNewTokens) : Number.POSITIVE_INFINITY;
    const fitted = fitConversation(messages, render, mostTokens);
    const { prompt } = fitted;
    if (prompt.ids.length >= contextLength) {
      throw new SdkError(
        'ERR_CONTEXT_OVERFLOW',
        `Expected a prompt of fewer than ${contextLength} tokens but it has ${prompt.ids.length}. Shorten it, leave out earlier turns (truncation: 'oldest-turns' does) or load the model with a larger contextLength.`,
        { details: { contextLength, promptTokens: prompt.ids.length } },
      );
    }
    if (resolved.heatMap && this.#parts.attention === undefined) throw noHeatMap(this.info);
    const last = images.at(-1);
    if (resolved.camera !== undefined && last !== undefined) requireFitting(resolved.camera, last);
    const room = contextLength - prompt.ids.length;
    const notices = [languageNotice(messages), truncationNotice(fitted, contextLength)].filter(
      (notice) => notice !== undefined,
    );
    const maxNewTokens = Math.min(resolved.maxNewTokens, room);
    return { prompt, question: lastQuestion(request), images, notices, options: { ...resolved, maxNewTokens } };
  }

  async #answer(
    prepared: PreparedRequest,
    onText: (text: string) => void,
    signal: AbortSignal,
    startedMs: number,
  ): Promise<Answer> {
    const { prompt, question, images, options } = prepared;
    const schema = options.schema && (await this.#grammars.prepare(options.schema, options.schemaFrom, { signal }));
    const form = schema ?? (await this.#formOf(question, images.at(-1), options, signal));
    let grammar: SchemaMask | undefined;
    const createMask = () => {
      grammar = form?.begin();
      return maskOf(options, prompt.ids, grammar);
    };
    const output = await this.#inference.generate({
      priority: options.priority,
      caller: options.caller,
      deadlineMs: options.deadlineMs,
      promptIds: prompt.ids,
      imagePositions: prompt.imagePositions,
      images,
      sample: this.#parts.createSampler(options),
      createMask,
      stopStrings: options.stop,
      maxNewTokens: options.maxNewTokens,
      likeliest: options.logProbabilities,
      drafting: options.drafting ? { stretch: penaltyStretch(options) } : undefined,
      onText,
      signal,
    });
    const { text, finishReason, generatedTokens, imageMs, prefillMs, decodeMs } = output;
    if (schema !== undefined && grammar?.isWhole === false) throw incompleteAnswer(text, options.maxNewTokens);
    const value = schema?.parse(text);
    const written = { text, question, tokens: output.tokens };
    const { objects, heatMaps, usage: verifying } = await this.#ground(written, images.at(-1), options, signal);
    const endMs = performance.now();
    const sentence = schema === undefined ? sentenceOf(text, objects, this.#parts.boxes) : undefined;
    const usage: Usage = {
      promptTokens: prompt.ids.length,
      reusedTokens: output.reusedTokens,
      generatedTokens,
      draftedTokens: output.draftedTokens,
      acceptedTokens: output.acceptedTokens,
      images: images.length,
      reusedImages: output.reusedImages,
      preemptions: output.preemptions,
    };
    const tokens =
      options.logProbabilities === undefined ? undefined : answerTokens(output.tokens, text, this.#parts.tokenizer);
    const answer: Answer = {
      text,
      ...(sentence === undefined ? {} : { sentence }),
      objects,
      ...(schema === undefined ? {} : { value }),
      ...(heatMaps === undefined ? {} : { heatMaps }),
      ...(tokens === undefined ? {} : { tokens }),
      ...noticed(prepared),
      finishReason,
      usage: sumOfUsage([usage, ...verifying]),
      timings: {
        queueMs: output.queueMs,
        imageMs,
        prefillMs,
        timeToFirstTokenMs: imageMs + prefillMs,
        decodeMs,
        engineCalls: output.engineCalls,
        tokensPerSecond: generatedTokens > 1 ? ((generatedTokens - 1) * 1000) / Math.max(decodeMs, 1e-3) : 0,
        totalMs: endMs - startedMs,
      },
    };
    this.#parts.logger.log('debug', 'generated', { ...answer.usage, ...answer.timings, finishReason });
    return answer;
  }

  /** What the grounder needs an answer to be, where its caller asks for no form. */
  async #formOf(
    question: string,
    image: ModelImage | undefined,
    { createMask }: ResolvedOptions,
    signal: AbortSignal,
  ): Promise<PreparedSchema | undefined> {
    if (image === undefined || createMask !== undefined) return undefined;
    const schema = this.#parts.grounder.answerSchema?.(question);
    return schema && (await this.#grammars.prepare(schema as SchemaInput, 'caller', { signal }));
  }

  #ground(
    written: WrittenAnswer,
    image: ModelImage | undefined,
    { verify, heatMap, camera, priority, caller }: ResolvedOptions,
    signal: AbortSignal,
  ): Promise<FoundObjects> {
    const decide = (view: ModelImage, question: string) =>
      this.decide(view, question, { type: 'yes-no' }, { priority, caller, signal });
    const { attentionTaps } = this.#parts.engine.info.capabilities;
    const attend = attentionTaps
      ? (...[view, question, heads]: Parameters<Attend>) =>
          this.#attend(view, question, heads, { priority, caller, signal })
      : undefined;
    const locatePrompt = this.info.prompts.locate;
    return groundAnswer(this.#parts, { written, image, verify, heatMap, camera, locatePrompt, decide, attend, signal });
  }

  /** A prompt of its own, which shares the picture's features and its beginning with the answer's. */
  async #attend(
    image: ModelImage,
    question: string,
    heads: Parameters<Attend>[2],
    { signal, ...options }: Pick<GenerateOptions, 'priority' | 'caller' | 'signal'>,
  ): Promise<Looked> {
    const request = questionAbout(image, question);
    return await this.#tracked(request, { ...options, maxNewTokens: 1 }, signal, async (call) => {
      const { prompt, images, options: resolved } = call.prepared;
      const { ids: promptIds, imagePositions } = prompt;
      const { priority, caller } = resolved;
      const place = { promptIds, imagePositions, images, priority, caller, signal: call.signal };
      const output = await this.#inference.probe({ ...place, heads });
      const { attention, geometries, reusedTokens, reusedImages, preemptions } = output;
      const attended = { weights: attention.weights, heads: heads.length, geometry: geometries[0]! };
      const nothing = { generatedTokens: 0, draftedTokens: 0, acceptedTokens: 0 };
      const promptTokens = promptIds.length;
      return { attended, usage: { ...nothing, promptTokens, reusedTokens, images: 1, reusedImages, preemptions } };
    });
  }
}

function noticed({ notices }: PreparedRequest): Pick<Answer, 'notices'> {
  return notices.length === 0 ? {} : { notices };
}

function lastQuestion({ messages }: GenerateRequest): string {
  const last = messages.findLast(({ role }) => role === 'user')?.content ?? '';
  if (typeof last === 'string') return last;
  return last.map((part) => (part.type === 'text' ? part.text : '')).join('');
}

function maskOf(options: ResolvedOptions, prompt: Int32Array, grammar?: TokenMask): TokenMask | undefined {
  const mask = grammar ?? options.createMask?.();
  return hasPenalties(options) ? new Penalties(options, prompt, mask) : mask;
}

function noHeatMap({ name, engine }: ModelInfo): SdkError {
  return new SdkError(
    'ERR_REQUEST_UNSUPPORTED',
    engine.capabilities.attentionTaps
      ? `Expected a model whose heads that localise are known for a heat map, but ${name} has none. Find them once: scenebus calibrate-grounding.`
      : `Expected a backend that hands out attention for a heat map, but ${engine.backend} does not. Load the model with attentionTaps: true, which builds the decoder with them.`,
  );
}

function disposed(): SdkError {
  return new SdkError('ERR_DISPOSED', 'Expected a loaded model but it was disposed. Load it again with loadModel.');
}
