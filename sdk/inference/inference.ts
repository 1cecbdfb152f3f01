/** One engine shared by all callers of a model: what they ask, when they get it, and what is kept between requests. */
import type { AttentionRequest, Engine } from '../engine/engine.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Candidate } from './candidate-tree.js';
import { Drafting, type DraftSession } from './drafting/index.js';
import { Generation, type GenerationInput, type GenerationOutput, type StepDrafts } from './generation.js';
import {
  GenerationJob,
  type GenerationReport,
  type GenerationRequest,
  type GenerationResources,
  type PictureProcessor,
} from './generation-job.js';
import { ImageCache } from './image-cache.js';
import { Likelihood, type LikelihoodOutput } from './likelihood.js';
import { Probing, type ProbingOutput } from './probing.js';
import { type JobReport, Scheduler, type SchedulerStats } from './scheduler.js';
import { checkCandidates, Scoring, type ScoringOutput, scoringRoom } from './scoring.js';
import { SequencePool } from './sequence-pool.js';
import type { SequenceTask, TaskPlace } from './sequence-task.js';
import type { TokenMask } from './token-mask.js';

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
export type InferenceRequest = GenerationRequest &
  Pick<GenerationInput, 'sample' | 'stopStrings' | 'onText' | 'likeliest'> & {
    /** Called when the text begins, not before. */
    readonly createMask?: (() => TokenMask | undefined) | undefined;
    /** undefined: no drafts. `stretch`: how much further apart logits come to lie before a token is chosen. */
    readonly drafting: { readonly stretch: number } | undefined;
  };

/** Answers to choose from. */
export type ScoringRequest = Omit<GenerationRequest, 'maxNewTokens'> & {
  readonly candidates: readonly Candidate[];
  readonly optionCount: number;
};

/** Texts behind a prompt, as tokens; none is empty. */
export type LikelihoodRequest = Omit<GenerationRequest, 'maxNewTokens'> & { readonly texts: readonly Int32Array[] };

/** Where the model looks at the end of a prompt. */
export type ProbingRequest = Omit<GenerationRequest, 'maxNewTokens'> & Pick<AttentionRequest, 'heads'>;

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
      geometries: new WeakMap(),
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
  async generate(request: InferenceRequest): Promise<GenerationReport<GenerationOutput> & JobReport> {
    const { drafting, createMask, sample, stopStrings, onText, maxNewTokens, likeliest } = request;
    const { engine, tokenizer, stopIds } = this.#options;
    const margin = engine.info.capabilities.closeCallMargin;
    const text = { tokenizer, stopIds, sample, stopStrings, onText, maxNewTokens, likeliest };
    let session: DraftSession | undefined;
    const beginDrafts = (): StepDrafts | undefined => {
      if (drafting === undefined || margin === null) return undefined;
      session = this.#drafting.begin(request.promptIds);
      return { source: session, closeCallMargin: margin * drafting.stretch };
    };
    const report = await this.#run(
      request,
      (place) => new Generation({ ...place, ...text, mask: createMask?.(), drafts: beginDrafts() }),
    );
    session?.remember();
    return report;
  }

  /**
   * How probable each option is as the answer, without writing it.
   * @throws SdkError as `generate`; ERR_ARGUMENT_INVALID for an option without a text
   */
  async score(request: ScoringRequest): Promise<GenerationReport<ScoringOutput> & JobReport> {
    const { candidates, optionCount, promptIds } = request;
    checkCandidates(candidates, optionCount);
    const { info } = this.#options.engine;
    const room = scoringRoom(candidates, promptIds.length, info);
    const longest = Math.max(...candidates.map(({ tokens }) => tokens.length));
    // Where memory is tight, beginnings are tried one after another.
    const maxNewTokens = this.#resources.sequences.fits(promptIds.length + room) ? room : longest;
    const branchTokens = maxNewTokens < room ? 0 : info.capabilities.branchTokens;
    const mostTokens = promptIds.length + maxNewTokens;
    const options = { candidates, optionCount, branchTokens, mostTokens };
    return await this.#run({ ...request, maxNewTokens }, (place) => new Scoring(place, options));
  }

  /**
   * How probable whole texts are behind the prompt, without writing them.
   * @throws SdkError as `generate`
   */
  async likelihood({ texts, ...request }: LikelihoodRequest): Promise<GenerationReport<LikelihoodOutput> & JobReport> {
    const maxNewTokens = Math.max(...texts.map(({ length }) => length));
    return await this.#run({ ...request, maxNewTokens }, (place) => new Likelihood(place, texts));
  }

  /**
   * Attention of heads over the pictures, at the last token of the prompt. Only where `capabilities.attentionTaps` says so.
   * @throws SdkError as `generate`
   */
  async probe({ heads, ...request }: ProbingRequest): Promise<GenerationReport<ProbingOutput> & JobReport> {
    return await this.#run({ ...request, maxNewTokens: 1 }, (place) => new Probing(place, heads));
  }

  async #run<Output extends object>(
    request: GenerationRequest,
    begin: (place: TaskPlace) => SequenceTask<Output>,
  ): Promise<GenerationReport<Output> & JobReport> {
    this.#resources.sequences.check(request.promptIds.length + request.maxNewTokens);
    const job = new GenerationJob(request, this.#resources, begin);
    const ran = await this.#scheduler.run(job);
    return { ...job.report, ...ran };
  }

  /** Refuses who comes later, waits for what runs (whoever aborts it waits less), and forgets what was kept. */
  async close(reason: unknown): Promise<void> {
    await this.#scheduler.close(reason);
    this.#resources.sequences[Symbol.dispose]();
    this.#resources.images[Symbol.dispose]();
  }
}
