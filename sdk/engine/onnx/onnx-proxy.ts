/**
 * The engine on the caller's side of the worker thread: checks, lengths, lifetimes. Tensors stay in the worker. State
 * belongs to one worker; when that dies, what it held says so and the next call starts another.
 */
import { SdkError } from '../../core/errors.js';
import type { OnProgress } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import type {
  Engine,
  EngineInfo,
  ImageState,
  Sequence,
  Slice,
  SliceOptions,
  SliceResult,
  StepResult,
} from '../engine.js';
import { CancelFlag } from '../shared/cancel-flag.js';
import { checkForward, checkProcessedImage } from '../shared/engine-checks.js';
import { stepInTurn, TrackedSequence } from '../shared/tracked-sequence.js';
import { WorkerChannel } from '../shared/worker-channel.js';
import type { OnnxNotice, OnnxRequests, OpenRequest } from './onnx-protocol.js';

type Channel = WorkerChannel<OnnxRequests, OnnxNotice>;

export interface OnnxListeners {
  readonly onProgress?: OnProgress | undefined;
  readonly onTensor?: ((name: string, data: Float32Array, shape: readonly number[]) => void) | undefined;
}

export class OnnxEngine implements Engine {
  readonly info: EngineInfo;
  readonly #open: OpenRequest;
  readonly #channel: Channel;
  readonly #cancels = new Set<(reason: unknown) => void>();
  #opening: Promise<null> | undefined;
  /** Generation of the worker whose sessions are open. */
  #openGeneration = 0;
  #nextId = 1;
  #disposed: Promise<void> | undefined;

  constructor(info: EngineInfo, open: OpenRequest, listeners: OnnxListeners) {
    this.info = info;
    this.#open = open;
    this.#channel = new WorkerChannel(
      new URL('./onnx-worker.js', import.meta.url),
      { name: 'scenebus-onnx' },
      (notice) => {
        if (notice.kind === 'progress') listeners.onProgress?.(notice.progress);
        else listeners.onTensor?.(notice.name, notice.data, notice.shape);
      },
    );
  }

  /** Opens the sessions in the worker; again when an earlier worker died. */
  async start(options: CallOptions = {}): Promise<void> {
    if (this.#opening === undefined || !this.#channel.alive) {
      const opening = this.#channel.request('open', this.#open);
      this.#opening = opening;
      opening.catch(() => {
        if (this.#opening === opening) this.#opening = undefined;
      });
    }
    const opening = this.#opening;
    await this.#cancellable(opening, options);
    this.#openGeneration = this.#channel.generation;
  }

  /** Requests can be sent at once, in the order of the calls. */
  get #isOpen(): boolean {
    return this.#channel.alive && this.#openGeneration === this.#channel.generation;
  }

  async encodeImage(image: ProcessedImage, options: CallOptions = {}): Promise<ImageState> {
    this.#checkUsable(options);
    checkProcessedImage(image, this.#open.architecture.vision);
    if (!this.#isOpen) await this.start(options);
    const id = this.#nextId++;
    const { pixelValues, aspectRatioId, numTiles } = image;
    const generation = this.#channel.generation;
    const cancel = new CancelFlag();
    const request = { image: id, pixelValues, aspectRatioId, numTiles, cancel: cancel.shared };
    try {
      const { sizeBytes } = await this.#cancellable(this.#channel.request('encodeImage', request), options, cancel);
      return new OnnxImageState(this, id, numTiles, sizeBytes, generation);
    } catch (error) {
      this.send('disposeImage', { image: id }, generation); // whoever gave up on it cannot dispose it
      throw error;
    }
  }

  createSequence(): Sequence {
    this.#checkUsable();
    const id = this.#nextId++;
    /** Of the worker that holds the tokens; undefined before the first call. */
    let generation: number | undefined;
    return new TrackedSequence(this, {
      check: (length, tokens, options) => this.#checkForward(length, tokens, options),
      forward: async (length, tokens, options) => {
        if (!this.#isOpen) await this.start(options);
        if (length > 0 && generation !== this.generation) throw lostState('sequence');
        generation = this.generation;
        return await this.#forward(id, length, tokens, options);
      },
      release: () => {
        if (generation !== undefined) this.send('disposeSequence', { sequence: id }, generation);
      },
    });
  }

  step(slices: readonly Slice[]): Promise<StepResult> {
    return stepInTurn(this, slices);
  }

  /** Terminates the worker as a crash would. */
  async kill(): Promise<void> {
    await this.#channel.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  /** @internal */
  get generation(): number {
    return this.#channel.alive ? this.#channel.generation : this.#channel.generation + 1;
  }

  /** @internal A message whose answer nobody waits for; dropped when its worker is gone. */
  send(method: 'disposeImage' | 'disposeSequence', request: never | object, generation: number): void {
    if (this.#disposed !== undefined || generation !== this.generation) return;
    this.#channel.request(method, request as never).catch(() => {});
  }

  async #forward(sequence: number, position: number, tokens: Int32Array, options: SliceOptions): Promise<SliceResult> {
    const cancel = new CancelFlag();
    const images = options.images.map(({ image, tokenIndex }) => ({ image: image.id, tokenIndex }));
    const { logits, attention } = options;
    const request = { sequence, position, tokens, images, logits, attention, cancel: cancel.shared };
    return this.#cancellable(this.#channel.request('forward', request), options, cancel);
  }

  #checkForward(length: number, tokens: Int32Array, options: SliceOptions): void {
    this.#checkUsable(options);
    checkForward({ info: this.info, architecture: this.#open.architecture, length }, tokens, options);
    for (const { image } of options.images) {
      if (!(image instanceof OnnxImageState) || image.engine !== this) {
        throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected image states that this engine encoded, received another.');
      }
      image.checkUsable();
    }
  }

  #checkUsable(options: CallOptions = {}): void {
    if (this.#disposed !== undefined) throw new SdkError('ERR_DISPOSED', 'The engine is closed; open another one.');
    options.signal?.throwIfAborted();
  }

  /** The caller is released at once when it aborts or the engine closes; the worker stops at its next step. */
  #cancellable<T>(work: Promise<T>, { signal }: CallOptions, word?: CancelFlag): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const cancel = (reason: unknown) => {
        word?.set();
        reject(reason);
      };
      const onAbort = () => cancel(signal?.reason);
      this.#cancels.add(cancel);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (signal?.aborted === true) onAbort();
      work.then(resolve, reject).finally(() => {
        this.#cancels.delete(cancel);
        signal?.removeEventListener('abort', onAbort);
      });
    });
  }

  async #close(): Promise<void> {
    const closed = new SdkError('ERR_DISPOSED', 'The engine was closed during the call.');
    for (const cancel of this.#cancels) cancel(closed);
    if (this.#channel.alive) await this.#channel.request('close', null).catch(() => {});
    await this.#channel.terminate();
  }
}

class OnnxImageState implements ImageState {
  readonly engine: OnnxEngine;
  readonly id: number;
  readonly numTiles: number;
  readonly sizeBytes: number;
  readonly #generation: number;
  #disposed = false;

  constructor(engine: OnnxEngine, id: number, numTiles: number, sizeBytes: number, generation: number) {
    this.engine = engine;
    this.id = id;
    this.numTiles = numTiles;
    this.sizeBytes = sizeBytes;
    this.#generation = generation;
  }

  checkUsable(): void {
    if (this.#disposed) throw new SdkError('ERR_DISPOSED', 'The image state was disposed; encode the image again.');
    if (this.#generation !== this.engine.generation) throw lostState('image state');
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.engine.send('disposeImage', { image: this.id }, this.#generation);
  }
}

function lostState(what: string): SdkError {
  const message = `The ${what} was lost when the engine's worker thread ended; encode the images and start the sequences again.`;
  return new SdkError('ERR_ENGINE_DIED', message);
}
