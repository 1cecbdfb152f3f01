/**
 * An engine without weights that keeps the border's promises (sdk/engine/engine.ts) and says when a caller breaks
 * them. What it "computes" depends on nothing but the tokens and images in the sequence, like a real one.
 */
import { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';
import {
  branchedLength,
  type Engine,
  type EngineCapabilities,
  type EngineInfo,
  type ImageState,
  type PlacedImage,
  type Sequence,
  type Slice,
  type SliceOptions,
  type SliceResult,
  type StepResult,
} from '#sdk/engine/engine.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';

/** The next token after `tokens`, or logits to choose from. */
export type NextToken = (tokens: readonly number[], images: readonly PlacedImage[]) => number | Float32Array;

export type FakeEngineInfo = Partial<Omit<EngineInfo, 'capabilities'>> & {
  readonly capabilities?: Partial<EngineCapabilities>;
};

export class FakeEngine implements Engine {
  readonly info: EngineInfo;
  /** In order: what each call processed. */
  readonly forwards: { readonly tokens: number[]; readonly pastLength: number; readonly images: number }[] = [];
  /** Slices of each step. */
  readonly steps: number[] = [];
  readonly encoded: ProcessedImage[] = [];
  liveImages = 0;
  liveSequences = 0;
  running = 0;
  disposals = 0;
  /** Runs inside every forward, before it returns: a place to abort, to fail or to wait. */
  onForward: (call: number, signal: AbortSignal | undefined) => void | Promise<void> = () => {};
  readonly #next: NextToken;

  constructor(next: NextToken, { capabilities, ...info }: FakeEngineInfo = {}) {
    this.#next = next;
    this.info = {
      backend: 'onnx',
      device: 'fake',
      numerics: 'meta',
      weights: 'float',
      vision: 'float',
      contextLength: 256,
      vocabularySize: 1024,
      ...info,
      capabilities: {
        batchedSlices: 1,
        sliceTokens: 256,
        closeCallMargin: 2e-3,
        prefixReuse: true,
        attentionTaps: false,
        keyValueBytesPerToken: 1000,
        branchTokens: 0,
        reservesContext: false,
        ...capabilities,
      },
    };
  }

  async encodeImage(image: ProcessedImage, options: CallOptions = {}): Promise<ImageState> {
    options.signal?.throwIfAborted();
    this.encoded.push(image);
    this.liveImages++;
    let live = true;
    const release = () => {
      if (live) this.liveImages--;
      live = false;
    };
    const state = {
      id: this.encoded.length,
      numTiles: image.numTiles,
      get sizeBytes() {
        if (!live) throw new Error('used an image state after its disposal');
        return 1000;
      },
      [Symbol.dispose]: release,
    };
    return state;
  }

  createSequence(): Sequence {
    if (this.disposals > 0) throw new Error('used an engine after its disposal');
    this.liveSequences++;
    return new FakeSequence(this, this.#next);
  }

  /** One after another, unless the fake says that it batches. */
  async step(slices: readonly Slice[]): Promise<StepResult> {
    const results: PromiseSettledResult<SliceResult>[] = [];
    this.steps.push(slices.length);
    for (const { sequence, tokens, ...options } of slices) {
      results.push(...(await Promise.allSettled([sequence.forward(tokens, options)])));
    }
    return results;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.running > 0) throw new Error('disposed an engine that runs');
    this.disposals++;
  }
}

class FakeSequence implements Sequence {
  readonly #engine: FakeEngine;
  readonly #next: NextToken;
  #tokens: number[] = [];
  #live = true;

  constructor(engine: FakeEngine, next: NextToken) {
    this.#engine = engine;
    this.#next = next;
  }

  get length(): number {
    return this.#tokens.length;
  }

  async forward(tokens: Int32Array, options: SliceOptions): Promise<SliceResult> {
    const engine = this.#engine;
    if (!this.#live) throw new Error('used a sequence after its disposal');
    if (tokens.length === 0) throw new Error('forwarded no tokens');
    if (engine.running > 0) throw new Error('ran two calls at once');
    for (const { image } of options.images) void image.sizeBytes; // throws when disposed
    options.signal?.throwIfAborted();
    if (this.length + tokens.length > engine.info.contextLength) {
      throw new SdkError('ERR_CONTEXT_OVERFLOW', 'Expected the tokens to fit into the context but they do not.');
    }
    engine.running++;
    try {
      engine.forwards.push({ tokens: Array.from(tokens), pastLength: this.length, images: options.images.length });
      await engine.onForward(engine.forwards.length, options.signal);
      options.signal?.throwIfAborted();
    } finally {
      engine.running--;
    }
    if (options.branches !== undefined) return this.#branches(tokens, options.branches, options);
    this.#tokens.push(...tokens);
    const rows = { none: 0, last: 1, all: tokens.length }[options.logits];
    const columns = engine.info.vocabularySize;
    const logits = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      const length = this.length - rows + 1 + row;
      logits.set(
        this.#row(length === this.length ? this.#tokens : this.#tokens.slice(0, length), options),
        row * columns,
      );
    }
    return { logits, logitsRows: rows };
  }

  #branches(tokens: Int32Array, lengths: readonly number[], options: SliceOptions): SliceResult {
    const { contextLength, vocabularySize, capabilities } = this.#engine.info;
    const sum = lengths.reduce((total, length) => total + length, 0);
    if (sum !== tokens.length || sum > capabilities.branchTokens || options.logits !== 'all')
      throw new Error('asked for alternatives that the engine does not compute');
    if (branchedLength(this.length, lengths) > contextLength)
      throw new SdkError('ERR_CONTEXT_OVERFLOW', 'Expected alternatives to fit into the context but they do not.');
    const logits = new Float32Array(sum * vocabularySize);
    let row = 0;
    for (const length of lengths) {
      const branch = tokens.subarray(row, row + length);
      for (let i = 1; i <= length; i++, row++)
        logits.set(this.#row([...this.#tokens, ...branch.subarray(0, i)], options), row * vocabularySize);
    }
    return { logits, logitsRows: sum };
  }

  #row(tokens: readonly number[], options: SliceOptions): Float32Array {
    const next = this.#next(tokens, options.images);
    if (typeof next !== 'number') return next;
    const logits = new Float32Array(this.#engine.info.vocabularySize).fill(-4);
    logits[next] = 4;
    return logits;
  }

  truncate(length: number): void {
    if (length > this.length) throw new Error('truncated to more than there is');
    this.#tokens = this.#tokens.slice(0, length);
  }

  [Symbol.dispose](): void {
    if (this.#live) this.#engine.liveSequences--;
    this.#live = false;
  }
}

/** Writes the given ids after the last occurrence of `header`, then `endId`. */
export function scripted(header: readonly number[], ids: readonly number[], endId: number): NextToken {
  return (tokens) => {
    let start = -1;
    for (let i = 0; i + header.length <= tokens.length; i++) {
      if (header.every((id, k) => tokens[i + k] === id)) start = i + header.length;
    }
    return ids[tokens.length - start] ?? endId;
  };
}
