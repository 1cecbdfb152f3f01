/** Processor, tokenizer, engine and grounder joined: messages in, grounded answers out. */
import { isSdkError, SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/logger.js';
import type { CallOptions } from '../core/types.js';
import type { Engine, ImageState } from '../engine/engine.js';
import type { Grounder } from '../grounding/grounder.js';
import type { ProcessedImage } from '../image/processed-image.js';
import { Drafting } from '../inference/drafting/index.js';
import { type GenerationOutput, runGeneration, type Sampler, type TokenMask } from '../inference/generation.js';
import { ImageCache, imageKey } from '../inference/image-cache.js';
import { hasPenalties, Penalties, penaltyStretch } from '../inference/penalties.js';
import { type PromptImage, ResidentSequence } from '../inference/resident-sequence.js';
import type { SamplingOptions } from '../inference/sampling.js';
import { TurnQueue } from '../inference/turn-queue.js';
import type { ChatTemplate } from '../text/chat-template.js';
import { completionPrompt, type Prompt, type PromptMessage, renderPrompt } from '../text/prompt.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { WrittenToken } from '../text/written-token.js';
import {
  type InternalGenerateOptions,
  type ResolvedOptions,
  resolveOptions,
  type SamplingDefaults,
} from './generate-options.js';
import { createTokenStream } from './token-stream.js';
import type {
  Answer,
  ChatMessage,
  GenerateOptions,
  GenerateRequest,
  ModelImage,
  ModelInfo,
  ModelStats,
  TokenStream,
  VisionLanguageModel,
} from './types.js';

/** What `loadModel` assembles; tests put fakes in. The model owns the engine from here on. */
export interface ModelParts {
  readonly info: ModelInfo;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  readonly processor: { process(image: ModelImage, options?: CallOptions): Promise<ProcessedImage> };
  readonly sampling: SamplingDefaults & { readonly eosTokenIds: readonly number[] };
  readonly createSampler: (options: SamplingOptions & { readonly seed: number }) => Sampler;
  readonly describePrompt: string;
  readonly grounder: Grounder;
  readonly imageCache: { readonly maxImages: number; readonly maxBytes: number };
  readonly logger: Logger;
}

export function createModel(parts: ModelParts): VisionLanguageModel {
  return new ComposedModel(parts);
}

/** A request that has passed every check that needs no engine. */
interface PreparedRequest {
  readonly prompt: Prompt;
  readonly images: readonly ModelImage[];
  readonly options: ResolvedOptions;
}

interface EncodedImages {
  /** Identity of the pixels, one for each image of the prompt. */
  readonly keys: readonly string[];
  readonly states: readonly ImageState[];
  /** How many came from the cache. */
  readonly reused: number;
}

class ComposedModel implements VisionLanguageModel {
  readonly info: ModelInfo;
  readonly #parts: ModelParts;
  readonly #queue = new TurnQueue(LIMITS.requestQueueLength);
  readonly #images: ImageCache;
  readonly #resident: ResidentSequence;
  readonly #drafting = new Drafting();
  /** Calls that run or wait. */
  readonly #running = new Set<AbortController>();
  #closed: Promise<void> | undefined;

  constructor(parts: ModelParts) {
    this.info = parts.info;
    this.#parts = parts;
    this.#images = new ImageCache(parts.imageCache);
    this.#resident = new ResidentSequence(parts.engine);
  }

  async ask(image: ModelImage, question: string, options: GenerateOptions = {}): Promise<Answer> {
    if (typeof question !== 'string' || question.trim() === '') {
      throw new SdkError('ERR_PROMPT_INVALID', 'Expected a question but received an empty one.');
    }
    const content = [{ type: 'image', image } as const, { type: 'text', text: question } as const];
    const { temperature = 0 } = options;
    return await this.generate({ messages: [{ role: 'user', content }] }, { ...options, temperature }).collect();
  }

  async describe(image: ModelImage, options: GenerateOptions = {}): Promise<Answer> {
    const { temperature = 0, priority = 'description' } = options;
    return await this.ask(image, this.#parts.describePrompt, { ...options, temperature, priority });
  }

  stats(): ModelStats {
    return this.#queue.stats();
  }

  async complete(image: ModelImage | undefined, text: string, options: GenerateOptions = {}): Promise<Answer> {
    if (typeof text !== 'string' || (text === '' && image === undefined)) {
      throw new SdkError('ERR_PROMPT_INVALID', 'Expected a text to go on with but received none.');
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
    this.#queue.close(reason);
    for (const abort of this.#running) abort.abort(reason);
    await this.#queue.idle();
    this.#forget();
    await this.#parts.engine[Symbol.asyncDispose]();
  }

  async #run(
    request: GenerateRequest,
    options: InternalGenerateOptions,
    onText: (text: string) => void,
    readerSignal: AbortSignal,
  ): Promise<Answer> {
    if (this.#closed) throw disposed();
    readerSignal.throwIfAborted();
    const startedMs = performance.now();
    const prepared = this.#prepare(request, options);
    // Not AbortSignal.any: on Node 20 a signal that lives long keeps a reference for every call.
    const abort = new AbortController();
    const onLeave = () => abort.abort(readerSignal.reason);
    readerSignal.addEventListener('abort', onLeave, { once: true });
    this.#running.add(abort);
    const timer = expireAfter(prepared.options.deadlineMs, abort);
    let endTurn: (() => void) | undefined;
    try {
      const queuedMs = performance.now();
      endTurn = await this.#queue.take(prepared.options.priority, abort.signal);
      const queueMs = performance.now() - queuedMs;
      return await this.#turn(prepared, onText, abort.signal, { startedMs, queueMs });
    } finally {
      clearTimeout(timer);
      endTurn?.();
      this.#running.delete(abort);
      readerSignal.removeEventListener('abort', onLeave);
    }
  }

  #prepare(request: GenerateRequest, options: InternalGenerateOptions): PreparedRequest {
    const resolved = resolveOptions(options, this.#parts.sampling);
    const { messages, images } = splitMessages(request);
    const { template, tokenizer } = this.#parts;
    const prompt =
      layoutOf(request) === 'plain'
        ? completionPrompt(tokenizer, messages)
        : renderPrompt(template, tokenizer, messages);
    const { contextLength } = this.info.engine;
    if (prompt.ids.length >= contextLength) {
      throw new SdkError(
        'ERR_CONTEXT_OVERFLOW',
        `Expected a prompt of fewer than ${contextLength} tokens but it has ${prompt.ids.length}. Shorten it, drop earlier turns or load the model with a larger contextLength.`,
        { details: { contextLength, promptTokens: prompt.ids.length } },
      );
    }
    const room = contextLength - prompt.ids.length;
    return { prompt, images, options: { ...resolved, maxNewTokens: Math.min(resolved.maxNewTokens, room) } };
  }

  /** After a failure nobody knows what the backend still holds. */
  #forget(): void {
    this.#resident[Symbol.dispose]();
    this.#images[Symbol.dispose]();
  }

  /** Has the engine to itself. */
  async #turn(
    request: PreparedRequest,
    onText: (text: string) => void,
    signal: AbortSignal,
    before: { readonly startedMs: number; readonly queueMs: number },
  ): Promise<Answer> {
    const { prompt, images, options } = request;
    const turnMs = performance.now();
    let imageMs: number;
    let encoded: EncodedImages;
    let output: GenerationOutput;
    let reusedTokens: number;
    try {
      encoded = await this.#encodeImages(images, signal);
      imageMs = performance.now() - turnMs;
      const promptImages = encoded.keys.map((key, i): PromptImage => ({ key, tokenIndex: prompt.imagePositions[i]! }));
      const sequence = this.#resident.prepare(prompt.ids, promptImages);
      reusedTokens = sequence.length;
      const margin = options.drafting ? this.info.engine.capabilities.closeCallMargin : null;
      const drafts =
        margin === null
          ? undefined
          : { source: this.#drafting.begin(prompt.ids), closeCallMargin: margin * penaltyStretch(options) };
      output = await runGeneration({
        sequence,
        tokens: prompt.ids.slice(reusedTokens),
        images: encoded.states.map((image, i) => ({ image, tokenIndex: prompt.imagePositions[i]! })),
        tokenizer: this.#parts.tokenizer,
        sample: this.#parts.createSampler(options),
        mask: maskOf(options, prompt.ids),
        stopIds: new Set(this.#parts.sampling.eosTokenIds),
        stopStrings: options.stop,
        maxNewTokens: options.maxNewTokens,
        signal,
        onText,
        onForward: (tokens) => this.#resident.append(tokens),
        drafts,
      });
      drafts?.source.remember();
    } catch (error) {
      if (!signal.aborted && !isAboutPicture(error)) this.#forget();
      throw error;
    } finally {
      this.#images.trim(new Set());
    }
    const endMs = performance.now();
    const objects = await this.#ground(output.text, images.at(-1), output.tokens, signal);
    const answer: Answer = {
      text: output.text,
      objects,
      finishReason: output.finishReason,
      usage: {
        promptTokens: prompt.ids.length,
        reusedTokens,
        generatedTokens: output.generatedTokens,
        draftedTokens: output.draftedTokens,
        acceptedTokens: output.acceptedTokens,
        images: images.length,
        reusedImages: encoded.reused,
        preemptions: 0,
      },
      timings: {
        queueMs: before.queueMs,
        imageMs,
        prefillMs: output.prefillMs,
        timeToFirstTokenMs: imageMs + output.prefillMs,
        decodeMs: output.decodeMs,
        engineCalls: output.engineCalls,
        tokensPerSecond:
          output.generatedTokens > 1 ? ((output.generatedTokens - 1) * 1000) / Math.max(output.decodeMs, 1e-3) : 0,
        totalMs: endMs - before.startedMs,
      },
    };
    this.#parts.logger.log('debug', 'generated', {
      ...answer.usage,
      ...answer.timings,
      finishReason: answer.finishReason,
    });
    return answer;
  }

  /** Vision features of every image, from the cache or the engine; the same picture twice is encoded once. */
  async #encodeImages(images: readonly ModelImage[], signal: AbortSignal): Promise<EncodedImages> {
    const keys = images.map(imageKey);
    const wanted = new Set(keys);
    const states: ImageState[] = [];
    let reused = 0;
    for (const [i, image] of images.entries()) {
      const key = keys[i]!;
      let state = this.#images.get(key);
      if (state === undefined) {
        this.#images.trim(wanted, 1);
        const processed = await this.#parts.processor.process(image, { signal });
        signal.throwIfAborted();
        state = await this.#parts.engine.encodeImage(processed, { signal });
        this.#images.set(key, state);
      } else reused++;
      states.push(state);
    }
    return { keys, states, reused };
  }

  async #ground(text: string, image: ModelImage | undefined, tokens: readonly WrittenToken[], signal: AbortSignal) {
    return image === undefined ? [] : await this.#parts.grounder.ground({ text, image, tokens }, { signal });
  }
}

function maskOf(options: ResolvedOptions, prompt: Int32Array): TokenMask | undefined {
  const mask = options.createMask?.();
  return hasPenalties(options) ? new Penalties(options, prompt, mask) : mask;
}

function expireAfter(deadlineMs: number | undefined, abort: AbortController): NodeJS.Timeout | undefined {
  if (deadlineMs === undefined) return undefined;
  return setTimeout(() => {
    const message = `Expected an answer within ${deadlineMs} ms, the deadline of the request, but there was none.`;
    abort.abort(new SdkError('ERR_REQUEST_EXPIRED', message, { details: { deadlineMs } }));
  }, deadlineMs);
}

function layoutOf({ layout = 'chat' }: GenerateRequest): 'chat' | 'plain' {
  if (layout === 'chat' || layout === 'plain') return layout;
  throw new SdkError('ERR_PROMPT_INVALID', `Expected the layout chat or plain but received ${JSON.stringify(layout)}.`);
}

/** Pictures apart from text: what the template sees, and what the engine sees, in the same order. */
function splitMessages(request: GenerateRequest): { messages: PromptMessage[]; images: ModelImage[] } {
  if (!Array.isArray(request?.messages)) {
    throw new SdkError('ERR_PROMPT_INVALID', 'Expected { messages: [{ role, content }] } but received no messages.');
  }
  const images: ModelImage[] = [];
  const messages = request.messages.map((message: ChatMessage): PromptMessage => {
    const parts =
      typeof message?.content === 'string' ? [{ type: 'text', text: message.content } as const] : message?.content;
    if (!Array.isArray(parts)) {
      throw new SdkError('ERR_PROMPT_INVALID', 'Expected the content of a message to be a string or a list of parts.');
    }
    return {
      role: message.role,
      parts: parts.map((part) => {
        if (part?.type === 'text' && typeof part.text === 'string') return { type: 'text', text: part.text };
        if (part?.type !== 'image') {
          throw new SdkError(
            'ERR_PROMPT_INVALID',
            `Expected a part of type "text" or "image" but received ${JSON.stringify(part?.type)}.`,
          );
        }
        images.push(checkedImage(part.image));
        return { type: 'image' };
      }),
    };
  });
  return { messages, images };
}

/** Enough to hash and count it; the image processor checks sizes and limits. */
function checkedImage(image: ModelImage | undefined): ModelImage {
  if (image?.data instanceof Uint8Array) return image;
  throw new SdkError(
    'ERR_IMAGE_INVALID',
    'Expected an image { width, height, format, data: Uint8Array } but received something else. Read a frame with openCamera or decode a file with decodeImage.',
  );
}

/** Said before the engine was asked for anything. */
function isAboutPicture(error: unknown): boolean {
  return isSdkError(error, 'ERR_IMAGE_INVALID') || isSdkError(error, 'ERR_IMAGE_TOO_LARGE');
}

function disposed(): SdkError {
  return new SdkError('ERR_DISPOSED', 'Expected a loaded model but it was disposed. Load it again with loadModel.');
}
