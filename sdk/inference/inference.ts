/** One engine shared by all callers of a model: what they ask, when they get it, and what is kept between requests. */
import type { Engine } from '../engine/engine.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { Drafting, type DraftSession } from './drafting/index.js';
import {
  GenerationJob,
  type GenerationReport,
  type GenerationRequest,
  type GenerationResources,
  type PictureProcessor,
} from './generation-job.js';
import { ImageCache } from './image-cache.js';
import { type JobReport, Scheduler, type SchedulerStats } from './scheduler.js';
import { SequencePool } from './sequence-pool.js';

/** What a model hands over when it is loaded. */
export interface InferenceOptions {
  /** Stays the caller's, who closes it after `close`. */
  readonly engine: Engine;
  readonly processor: PictureProcessor;
  readonly tokenizer: Tokenizer;
  readonly stopIds: ReadonlySet<number>;
  readonly imageCache: { readonly maxImages: number; readonly maxBytes: number };
  /** Self-attention K/V of all sequences; see `SequencePool`. */
  readonly keyValueCache?: { readonly maxBytes?: number | undefined } | undefined;
  /** Requests of one priority that may wait. */
  readonly maxWaiting: number;
}

/** Plain numbers of this moment. */
export interface InferenceStats extends SchedulerStats {
  /** Sequences in memory: those that compute, and idle ones kept for what prompts share. */
  readonly sequences: number;
  readonly sequenceBytes: number;
  readonly cachedImages: number;
  readonly cachedImageBytes: number;
}

/** A generation as the model asks for it. */
export type InferenceRequest = Omit<GenerationRequest, 'stopIds' | 'tokenizer' | 'beginDrafts'> & {
  /** undefined: no drafts. `stretch`: how much further apart logits come to lie before a token is chosen. */
  readonly drafting: { readonly stretch: number } | undefined;
};

/** The scheduler, the caches and the drafts of one model, joined. */
export class Inference {
  readonly #options: InferenceOptions;
  readonly #resources: GenerationResources;
  readonly #scheduler: Scheduler;
  readonly #drafting = new Drafting();

  constructor(options: InferenceOptions) {
    const { engine, processor, maxWaiting } = options;
    this.#options = options;
    this.#scheduler = new Scheduler(engine, { maxWaiting });
    this.#resources = {
      engine,
      processor,
      images: new ImageCache(options.imageCache),
      sequences: new SequencePool(engine, options.keyValueCache?.maxBytes),
    };
  }

  get stats(): InferenceStats {
    const { sequences, images } = this.#resources;
    const { sequences: count, sizeBytes } = sequences.stats;
    return {
      ...this.#scheduler.stats,
      sequences: count,
      sequenceBytes: sizeBytes,
      cachedImages: images.size,
      cachedImageBytes: images.sizeBytes,
    };
  }

  /** @throws SdkError ERR_LIMIT_EXCEEDED for what cannot run even alone, ERR_BUSY; see `Scheduler.run` */
  async generate(request: InferenceRequest): Promise<GenerationReport & JobReport> {
    const { drafting, ...rest } = request;
    const { engine, tokenizer, stopIds } = this.#options;
    this.#resources.sequences.check(request.promptIds.length + request.maxNewTokens);
    const margin = engine.info.capabilities.closeCallMargin;
    let session: DraftSession | undefined;
    const beginDrafts = () => {
      if (drafting === undefined || margin === null) return undefined;
      session = this.#drafting.begin(request.promptIds);
      return { source: session, closeCallMargin: margin * drafting.stretch };
    };
    const job = new GenerationJob({ ...rest, tokenizer, stopIds, beginDrafts }, this.#resources);
    const ran = await this.#scheduler.run(job);
    session?.remember();
    return { ...job.report, ...ran };
  }

  /** Refuses who comes later, waits for what runs (whoever aborts it waits less), and forgets what was kept. */
  async close(reason: unknown): Promise<void> {
    await this.#scheduler.close(reason);
    this.#resources.sequences[Symbol.dispose]();
    this.#resources.images[Symbol.dispose]();
  }
}
