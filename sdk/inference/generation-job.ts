/** A generation as the scheduler sees it: pictures to encode, a sequence to take, tokens to compute, one after another. */
import { isSdkError } from '../core/errors.js';
import type { PixelImage } from '../core/image.js';
import type { CallOptions } from '../core/types.js';
import type { Engine, ImageState, PlacedImage } from '../engine/engine.js';
import { type ImageCache, imageKey } from './image-cache.js';
import type { Priority } from './priority.js';
import type { Job, Work } from './scheduler.js';
import type { SequenceLease, SequencePool } from './sequence-pool.js';
import type { SequenceTask, TaskPlace } from './sequence-task.js';

/** Pixels to what an engine encodes. */
export interface PictureProcessor {
  process(image: PixelImage, options?: CallOptions): Promise<Parameters<Engine['encodeImage']>[0]>;
}

/** How the pixels of a picture lie on its tiles. */
export type PictureGeometry = Parameters<Engine['encodeImage']>[0]['geometry'];

/** Shared by all generations of a model. */
export interface GenerationResources {
  readonly engine: Engine;
  readonly processor: PictureProcessor;
  readonly images: ImageCache;
  readonly sequences: SequencePool;
  /** Of pictures that were encoded, as long as they are kept. */
  readonly geometries: WeakMap<ImageState, PictureGeometry>;
}

/** What one caller wants, checked already. */
export interface GenerationRequest {
  readonly priority: Priority;
  readonly caller: string;
  readonly deadlineMs?: number | undefined;
  readonly promptIds: Int32Array;
  readonly images: readonly PixelImage[];
  /** Index of each image's token in `promptIds`. */
  readonly imagePositions: readonly number[];
  /** The most that comes behind the prompt. */
  readonly maxNewTokens: number;
  readonly signal: AbortSignal;
}

/** What the task came to, and what it took. */
export type GenerationReport<Output> = Output & {
  /** Prompt tokens that were in the sequence. */
  readonly reusedTokens: number;
  readonly reusedImages: number;
  /** Of the pictures of the prompt, in their order. */
  readonly geometries: readonly PictureGeometry[];
  /** From the first piece of work until all pictures were encoded. */
  readonly imageMs: number;
};

/** Said before the engine was asked for anything, or of an answer that it computed as it should. */
const ENGINE_IS_FINE = new Set([
  'ERR_IMAGE_INVALID',
  'ERR_IMAGE_TOO_LARGE',
  'ERR_ANSWER_INCOMPLETE',
  'ERR_LIMIT_EXCEEDED',
]);

/** Made for one request, used up with it. Holds pins and a sequence from its first piece of work on. */
export class GenerationJob<Output extends object> implements Job {
  readonly #request: GenerationRequest;
  readonly #begin: (place: TaskPlace) => SequenceTask<Output>;
  readonly #resources: GenerationResources;
  #startedMs: number | undefined;
  #hasBegun = false;
  /** Identity of the pixels, one for each image of the prompt; undefined: not pinned. */
  #keys: readonly string[] | undefined;
  #states: ImageState[] = [];
  #lease: SequenceLease | undefined;
  #generation: SequenceTask<Output> | undefined;
  /** All tokens so far, while the sequence is given away. */
  #suspendedTokens: Int32Array | undefined;
  #reusedTokens = 0;
  #reusedImages = 0;
  #imageMs = 0;
  #geometries: readonly PictureGeometry[] = [];

  /** @param begin called when the prompt's turn has come, not before */
  constructor(
    request: GenerationRequest,
    resources: GenerationResources,
    begin: (place: TaskPlace) => SequenceTask<Output>,
  ) {
    this.#request = request;
    this.#begin = begin;
    this.#resources = resources;
  }

  get priority(): Priority {
    return this.#request.priority;
  }

  get caller(): string {
    return this.#request.caller;
  }

  get deadlineMs(): number | undefined {
    return this.#request.deadlineMs;
  }

  get signal(): AbortSignal {
    return this.#request.signal;
  }

  get isDone(): boolean {
    return this.#generation?.output !== undefined;
  }

  /** Once it is done. */
  get report(): GenerationReport<Output> {
    const { output } = this.#generation!;
    const counts = { reusedTokens: this.#reusedTokens, reusedImages: this.#reusedImages, imageMs: this.#imageMs };
    return { ...output!, ...counts, geometries: this.#geometries };
  }

  next(): Work | undefined {
    const work = this.#next();
    // Without room it waits on: that time is the queue's, which the scheduler counts.
    if (work !== undefined) this.#hasBegun = true;
    else if (!this.#hasBegun) this.#startedMs = undefined;
    return work;
  }

  #next(): Work | undefined {
    this.#startedMs ??= performance.now();
    if (!this.#pinImages()) return undefined;
    const missing = this.#findImages();
    if (missing !== undefined) return { kind: 'call', run: () => this.#encode(missing) };
    const generation = this.#generationInSequence();
    if (generation === undefined) return undefined;
    const { wanted, sequence, images } = generation;
    if (wanted === undefined) return { kind: 'token', run: () => generation.advance() };
    const slice = { sequence, images, signal: this.signal, ...wanted };
    return { kind: 'slice', slice, accept: (result, elapsedMs) => generation.accept(wanted, result, elapsedMs) };
  }

  suspend(): void {
    if (this.#lease !== undefined && this.#generation !== undefined) {
      this.#generation.end();
      this.#suspendedTokens = Int32Array.from([...this.#lease.tokens, ...this.#generation.pending]);
    }
    this.#letGo('keep');
  }

  release({ error }: { readonly error?: unknown }): void {
    const isFailure =
      error !== undefined && !this.signal.aborted && !(isSdkError(error) && ENGINE_IS_FINE.has(error.code));
    const isHolding = this.#keys !== undefined;
    if (!isFailure) this.#generation?.end();
    this.#letGo(isFailure ? 'drop' : 'keep');
    if (!isFailure || !isHolding) return;
    // Nobody knows what the backend still holds.
    this.#resources.sequences[Symbol.dispose]();
    this.#resources.images[Symbol.dispose]();
  }

  #letGo(how: 'keep' | 'drop'): void {
    this.#lease?.release(how);
    this.#lease = undefined;
    if (this.#keys !== undefined) this.#resources.images.unpin(this.#keys);
    this.#keys = undefined;
    this.#states = [];
  }

  #pinImages(): boolean {
    if (this.#keys !== undefined) return true;
    const { images } = this.#resources;
    const keys = this.#request.images.map(imageKey);
    if (!images.hasRoomFor(keys)) return false;
    images.pin(keys);
    this.#keys = keys;
    return true;
  }

  /** @returns the index of the first image that has to be encoded */
  #findImages(): number | undefined {
    const keys = this.#keys!;
    while (this.#states.length < keys.length) {
      const state = this.#resources.images.get(keys[this.#states.length]!);
      if (state === undefined) return this.#states.length;
      this.#states.push(state);
      if (this.#generation === undefined) this.#reusedImages++;
    }
    return undefined;
  }

  async #encode(index: number): Promise<void> {
    const { engine, processor, images, geometries } = this.#resources;
    const options = { signal: this.signal };
    images.trim(1);
    const processed = await processor.process(this.#request.images[index]!, options);
    this.signal.throwIfAborted();
    const state = await engine.encodeImage(processed, options);
    geometries.set(state, processed.geometry);
    images.set(this.#keys![index]!, state);
    this.#states.push(state);
  }

  #generationInSequence(): SequenceTask<Output> | undefined {
    if (this.#lease !== undefined) return this.#generation;
    const { promptIds, imagePositions, maxNewTokens } = this.#request;
    const tokens = this.#suspendedTokens ?? promptIds;
    const promptImages = this.#keys!.map((key, i) => ({ key, tokenIndex: imagePositions[i]! }));
    const lease = this.#resources.sequences.acquire(tokens, promptImages, promptIds.length + maxNewTokens);
    if (lease === undefined) return undefined;
    this.#lease = lease;
    const { sequence } = lease;
    const rest = tokens.slice(lease.reusedTokens);
    const images = this.#states.map((image, i): PlacedImage => ({ image, tokenIndex: imagePositions[i]! }));
    if (this.#generation !== undefined) {
      this.#generation.moveTo(sequence, images, rest);
      return this.#generation;
    }
    this.#imageMs = performance.now() - this.#startedMs!;
    this.#reusedTokens = lease.reusedTokens;
    this.#geometries = this.#states.map((state) => this.#resources.geometries.get(state)!);
    this.#generation = this.#begin({
      sequence,
      tokens: rest,
      images,
      sliceTokens: this.#resources.engine.info.capabilities.sliceTokens,
      onForward: (entered) => this.#lease?.append(entered),
      onTouch: (tokens) => this.#lease?.touch(tokens),
    });
    return this.#generation;
  }
}
