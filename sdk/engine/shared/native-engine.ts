/**
 * What engines whose tensors live in the addon do alike: checks, lengths, lifetimes, aborts. Native calls run one after
 * another in the order in which they were made, so that no handle is released or shortened under a call that uses it;
 * who should call when is the scheduler's affair. Whoever aborts is released at once, and the native side stops at its
 * next layer or step.
 */
import type { MllamaArchitecture } from '../../architecture/architecture.js';
import { SdkError } from '../../core/errors.js';
import type { CallOptions } from '../../core/types.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import type {
  AttentionRequest,
  Engine,
  EngineInfo,
  ImageState,
  Sequence,
  Slice,
  SliceOptions,
  SliceResult,
  StepResult,
} from '../engine.js';
import { CancelFlag } from './cancel-flag.js';
import { Cancellation } from './cancellation.js';
import { checkForward, checkProcessedImage } from './engine-checks.js';
import { toSdkError } from './native-call.js';
import { stepInTurn, TrackedSequence } from './tracked-sequence.js';

/** Runs a native call when those before it have ended; it gets an int32 that becomes 1 when nobody wants it any more. */
export type Enqueue = <T>(call: (flag: Int32Array) => Promise<T>) => Promise<T>;

export interface NativeImage<Handle> {
  readonly handle: Handle;
  readonly sizeBytes: number;
}

export interface NativePlacedImage<Handle> {
  readonly handle: Handle;
  readonly numTiles: number;
  readonly tokenIndex: number;
}

export interface NativeForward<ImageHandle, SequenceHandle> {
  readonly sequence: SequenceHandle;
  /** Tokens of the sequence that count; whatever an aborted call or a truncation left behind them is forgotten. */
  readonly length: number;
  readonly tokens: Int32Array;
  readonly images: readonly NativePlacedImage<ImageHandle>[];
  readonly logits: SliceOptions['logits'];
  readonly attention?: AttentionRequest | undefined;
  readonly branches?: readonly number[] | undefined;
}

/** One model in the addon. Handles are its own; nothing here looks into them. */
export interface NativeBackend<ImageHandle, SequenceHandle> extends AsyncDisposable {
  /** Work on this side of the addon may go on outside of `enqueue`, beside calls of others; `cancel` is for that. */
  encodeImage(image: ProcessedImage, enqueue: Enqueue, cancel: CancelFlag): Promise<NativeImage<ImageHandle>>;
  createSequence(): SequenceHandle;
  /** Called inside the queue. */
  forward(call: NativeForward<ImageHandle, SequenceHandle>, flag: Int32Array): Promise<SliceResult>;
  /** Called inside the queue, or when it is empty. */
  release(handle: ImageHandle | SequenceHandle): void;
}

export class NativeEngine<ImageHandle, SequenceHandle> implements Engine {
  readonly info: EngineInfo;
  readonly #architecture: MllamaArchitecture;
  readonly #backend: NativeBackend<ImageHandle, SequenceHandle>;
  /** Calls that run or wait. */
  readonly #calls = new Set<Cancellation>();
  /** Ends when the last native call that was asked for has ended, and never rejects; undefined when it has. */
  #queue: Promise<unknown> | undefined;
  #nextId = 1;
  #disposed: Promise<void> | undefined;

  /** The engine owns the backend from here on. */
  constructor(info: EngineInfo, architecture: MllamaArchitecture, backend: NativeBackend<ImageHandle, SequenceHandle>) {
    this.info = info;
    this.#architecture = architecture;
    this.#backend = backend;
  }

  async encodeImage(image: ProcessedImage, options: CallOptions = {}): Promise<ImageState> {
    this.#checkUsable(options);
    checkProcessedImage(image, this.#architecture.vision);
    const cancel = new CancelFlag();
    const cancellation = this.#begin(options);
    const encoding = this.#encode(image, cancellation, cancel);
    try {
      return await cancellation.race(encoding);
    } catch (error) {
      cancel.set();
      encoding.then((state) => state[Symbol.dispose]()).catch(() => {}); // whoever gave up on it cannot dispose it
      throw error;
    } finally {
      this.#end(cancellation);
    }
  }

  async #encode(image: ProcessedImage, cancellation: Cancellation, cancel: CancelFlag): Promise<ImageState> {
    const made = await this.#backend.encodeImage(image, (call) => this.#enqueue(cancellation, call), cancel);
    return new NativeImageState(this, this.#nextId++, image.numTiles, made);
  }

  createSequence(): Sequence {
    this.#checkUsable();
    const handle = this.#createHandle();
    return new TrackedSequence(this, {
      check: (length, tokens, options) => this.#checkForward(length, tokens, options),
      forward: (length, tokens, options) => this.#forward(handle, length, tokens, options),
      release: () => this.release(handle),
    });
  }

  step(slices: readonly Slice[]): Promise<StepResult> {
    return stepInTurn(this, slices);
  }

  #createHandle(): SequenceHandle {
    try {
      return this.#backend.createSequence();
    } catch (error) {
      throw toSdkError(error);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  async #close(): Promise<void> {
    const reason = new SdkError('ERR_DISPOSED', 'The engine was closed during the call.');
    for (const call of this.#calls) call.cancel(reason);
    await this.#queue;
    await this.#backend[Symbol.asyncDispose]();
  }

  /** Appends `tokens` behind the first `length` tokens of the native sequence. Every token of a text pays for this path. */
  #forward(sequence: SequenceHandle, length: number, tokens: Int32Array, options: SliceOptions): Promise<SliceResult> {
    const images = options.images.map(({ image, tokenIndex }) => {
      const { handle, numTiles } = image as NativeImageState<ImageHandle, SequenceHandle>;
      return { handle, numTiles, tokenIndex };
    });
    // The call may wait, and the caller's array is the caller's.
    const { logits, attention, branches } = options;
    const call = { sequence, length, tokens: tokens.slice(), images, logits, attention, branches };
    const cancellation = this.#begin(options);
    const work = this.#enqueue(cancellation, (flag) => this.#backend.forward(call, flag));
    return cancellation.race(work, () => this.#end(cancellation));
  }

  /** Calls that are aborted while they wait do not start. One that finds the queue empty does so without a detour. */
  #enqueue<T>(cancellation: Cancellation, call: (flag: Int32Array) => Promise<T>): Promise<T> {
    const work = this.#queue === undefined ? cancellation.run(call) : this.#queue.then(() => cancellation.run(call));
    this.#append(work);
    return work;
  }

  #append(work: Promise<unknown>): void {
    const onEnd = () => {
      if (this.#queue === ended) this.#queue = undefined;
    };
    const ended = work.then(onEnd, onEnd);
    this.#queue = ended;
  }

  /** @internal Frees a native object when the calls that were made before have ended. */
  release(handle: ImageHandle | SequenceHandle): void {
    this.#append((this.#queue ?? Promise.resolve()).then(() => this.#backend.release(handle)));
  }

  #checkForward(length: number, tokens: Int32Array, options: SliceOptions): void {
    this.#checkUsable(options);
    checkForward({ info: this.info, architecture: this.#architecture, length }, tokens, options);
    for (const { image } of options.images) {
      if (!(image instanceof NativeImageState) || image.engine !== this) {
        throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected image states that this engine encoded, received another.');
      }
      image.checkUsable();
    }
  }

  #checkUsable({ signal }: CallOptions = {}): void {
    if (this.#disposed !== undefined) throw new SdkError('ERR_DISPOSED', 'The engine is closed; open another one.');
    signal?.throwIfAborted();
  }

  #begin({ signal }: CallOptions): Cancellation {
    const cancellation = new Cancellation(signal);
    this.#calls.add(cancellation);
    return cancellation;
  }

  #end(cancellation: Cancellation): void {
    this.#calls.delete(cancellation);
    cancellation[Symbol.dispose]();
  }
}

class NativeImageState<ImageHandle, SequenceHandle> implements ImageState {
  readonly engine: NativeEngine<ImageHandle, SequenceHandle>;
  readonly id: number;
  readonly numTiles: number;
  readonly sizeBytes: number;
  readonly handle: ImageHandle;
  #disposed = false;

  constructor(
    engine: NativeEngine<ImageHandle, SequenceHandle>,
    id: number,
    numTiles: number,
    { handle, sizeBytes }: NativeImage<ImageHandle>,
  ) {
    this.engine = engine;
    this.id = id;
    this.numTiles = numTiles;
    this.sizeBytes = sizeBytes;
    this.handle = handle;
  }

  checkUsable(): void {
    if (this.#disposed) throw new SdkError('ERR_DISPOSED', 'The image state was disposed; encode the image again.');
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.engine.release(this.handle);
  }
}
