/**
 * The `cpu` backend: own kernels decode (native/cpu), ONNX Runtime encodes images. Here are checks, lengths and
 * lifetimes. Native calls run one after another in the order they were made, on a thread of their own.
 */
import { SdkError } from '../../core/errors.js';
import { DisposalStack } from '../../core/lifecycle.js';
import { silentLogger } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';
import { engineAddon } from '../../native/index.js';
import type {
  Engine,
  EngineInfo,
  ForwardOptions,
  ForwardResult,
  ImageState,
  ProcessedImage,
  Sequence,
} from '../engine.js';
import { checkCount, checkForward, checkProcessedImage, resolveContextLength } from '../engine-checks.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { TrackedSequence } from '../tracked-sequence.js';
import { openVisionTower, type VisionTower } from '../vision-tower.js';
import type { CpuImageHandle, CpuSequenceHandle, OpenedCpuDecoder } from './addon-types.js';
import { abortable, type CpuDecoderOptions, openCpuDecoder } from './decoder.js';

export interface CpuEngineOptions extends OpenEngineOptions {
  /**
   * Kernels to use. Default: `SCENEBUS_CPU_INSTRUCTION_SET` in the environment, else the fastest of the processor.
   */
  readonly instructionSet?: CpuDecoderOptions['instructionSet'];
  /**
   * Numbers in the K/V caches. Default `f16`. `f32` takes twice the memory, for reference values; `int8` half of it (a
   * scale for each head and position), for long contexts and many images: answers may differ in close calls.
   */
  readonly keyValueType?: CpuDecoderOptions['keyValueType'];
}

/**
 * Float weights are read where the checkpoint has them; int4 weights are packed once into
 * `<cacheDirectory>/cpu/…weights` and mapped from there afterwards.
 *
 * @throws SdkError ERR_NATIVE_UNAVAILABLE the addon or onnxruntime-node cannot be loaded
 * @throws SdkError ERR_MODEL_UNSUPPORTED sizes that the kernels do not take
 * @throws SdkError ERR_ARGUMENT_INVALID an instruction set that the processor does not have, an unknown keyValueType
 *
 * @example
 * await using engine = await openCpuEngine(await openCheckpoint(directory));
 * using sequence = engine.createSequence();
 * const { logits } = await sequence.forward(tokens, { images: [], logits: 'last' });
 */
export async function openCpuEngine(checkpoint: EngineCheckpoint, options: CpuEngineOptions = {}): Promise<Engine> {
  options.signal?.throwIfAborted();
  const { architecture, int4 } = checkpoint.model;
  const contextLength = resolveContextLength(options.contextLength, architecture.text);
  const numerics = options.numerics ?? 'meta';
  checkCount('threads', options.threads, 1024);

  const opened = new DisposalStack();
  try {
    const decoder = await openCpuDecoder(checkpoint, { ...options, contextLength, numerics });
    opened.defer(() => engineAddon().releaseCpuHandle(decoder.handle));
    const { threads } = decoder;
    const tower = opened.use(await openVisionTower(checkpoint, { ...options, contextLength, numerics, threads }));
    options.signal?.throwIfAborted();
    const info: EngineInfo = {
      backend: 'cpu',
      device: describe(decoder),
      numerics,
      weights: int4 === null ? 'float' : 'int4',
      contextLength,
      vocabularySize: architecture.text.vocabularySize,
    };
    (options.logger ?? silentLogger).log('info', `cpu engine open: ${checkpoint.name} on ${info.device}`);
    return new CpuEngine(info, checkpoint, decoder, tower, opened.move());
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

function describe({ threads, instructionSet }: OpenedCpuDecoder): string {
  const processor = engineAddon().cpuFeatures().processor || process.arch;
  return `${processor}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${instructionSet}`;
}

class CpuEngine implements Engine {
  readonly info: EngineInfo;
  readonly #architecture: EngineCheckpoint['model']['architecture'];
  readonly #decoder: OpenedCpuDecoder;
  readonly #tower: VisionTower;
  readonly #resources: DisposalStack;
  readonly #closing = new AbortController();
  /** Ends when the last native call that was asked for has ended; never rejects. */
  #queue: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #disposed: Promise<void> | undefined;

  constructor(
    info: EngineInfo,
    checkpoint: EngineCheckpoint,
    decoder: OpenedCpuDecoder,
    tower: VisionTower,
    resources: DisposalStack,
  ) {
    this.info = info;
    this.#architecture = checkpoint.model.architecture;
    this.#decoder = decoder;
    this.#tower = tower;
    this.#resources = resources;
  }

  async encodeImage(image: ProcessedImage, options: CallOptions = {}): Promise<ImageState> {
    this.#checkUsable(options);
    checkProcessedImage(image, this.#architecture.vision);
    const encoding = this.#encode(image, options);
    try {
      return await this.#orAborted(encoding, options);
    } catch (error) {
      encoding.then((state) => state[Symbol.dispose]()).catch(() => {}); // whoever gave up on it cannot dispose it
      throw error;
    }
  }

  async #encode(image: ProcessedImage, options: CallOptions): Promise<ImageState> {
    const features = await this.#tower.encode(image);
    const { tileSize, patchSize } = this.#architecture.vision;
    const tokensPerTile = Math.floor(tileSize / patchSize) ** 2 + 1;
    const visible = image.numTiles * tokensPerTile;
    const made = await this.#enqueue(options, (flag) =>
      engineAddon().encodeCpuImage(this.#decoder.handle, features, visible, flag),
    );
    return new CpuImageState(this, this.#nextId++, image.numTiles, made.sizeBytes, made.handle);
  }

  createSequence(): Sequence {
    this.#checkUsable();
    const handle = engineAddon().createCpuSequence(this.#decoder.handle);
    return new TrackedSequence({
      check: (length, tokens, options) => this.#checkForward(length, tokens, options),
      forward: (length, tokens, options) => this.#forward(handle, length, tokens, options),
      release: () => this.release(handle),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(new SdkError('ERR_DISPOSED', 'The engine was closed during the call.'));
    await this.#queue;
    await this.#resources[Symbol.asyncDispose]();
  }

  /** Appends `tokens` behind the first `length` tokens of the native sequence. */
  async #forward(
    sequence: CpuSequenceHandle,
    length: number,
    tokens: Int32Array,
    options: ForwardOptions,
  ): Promise<ForwardResult> {
    const addon = engineAddon();
    const handles: CpuImageHandle[] = [];
    for (const { image } of options.images) handles.push((image as CpuImageState).handle);
    const tokenIndices = Int32Array.from(options.images, ({ tokenIndex }) => tokenIndex);
    const ids = tokens.slice(); // the call may wait, and the caller's array is the caller's
    const all = options.logits === 'all';
    const rows = all ? ids.length : 1;
    const running = this.#enqueue(options, async (flag) => {
      // What an aborted call or a truncation left there is forgotten here, where nothing else uses the sequence.
      addon.truncateCpuSequence(sequence, length);
      const logits = new Float32Array(rows * this.info.vocabularySize);
      await addon.forwardCpu(this.#decoder.handle, sequence, ids, handles, tokenIndices, all, logits, flag);
      return { logits, rows };
    });
    return this.#orAborted(running, options);
  }

  /** Runs a native call when those before it have ended; calls aborted while they wait do not start. */
  #enqueue<T>({ signal }: CallOptions, call: (flag: Int32Array) => Promise<T>): Promise<T> {
    const work = this.#queue.then(() => abortable([signal, this.#closing.signal], call));
    this.#queue = work.catch(() => {});
    return work;
  }

  /** @internal Frees a native object when the calls that were made before have ended. */
  release(handle: CpuImageHandle | CpuSequenceHandle): void {
    this.#queue = this.#queue.then(() => engineAddon().releaseCpuHandle(handle));
  }

  #checkForward(length: number, tokens: Int32Array, options: ForwardOptions): void {
    this.#checkUsable(options);
    checkForward({ info: this.info, architecture: this.#architecture, length }, tokens, options);
    for (const { image } of options.images) {
      if (!(image instanceof CpuImageState) || image.engine !== this) {
        throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected image states that this engine encoded, received another.');
      }
      image.checkUsable();
    }
  }

  #checkUsable({ signal }: CallOptions = {}): void {
    if (this.#disposed !== undefined) throw new SdkError('ERR_DISPOSED', 'The engine is closed; open another one.');
    signal?.throwIfAborted();
  }

  /** The caller is released at once when it aborts or the engine closes; the native side stops at its next layer. */
  #orAborted<T>(work: Promise<T>, { signal }: CallOptions): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => reject(signal?.reason);
      const onClose = () => reject(this.#closing.signal.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#closing.signal.addEventListener('abort', onClose, { once: true });
      work.then(resolve, reject).finally(() => {
        signal?.removeEventListener('abort', onAbort);
        this.#closing.signal.removeEventListener('abort', onClose);
      });
    });
  }
}

class CpuImageState implements ImageState {
  readonly engine: CpuEngine;
  readonly id: number;
  readonly numTiles: number;
  readonly sizeBytes: number;
  /** @internal */
  readonly handle: CpuImageHandle;
  #disposed = false;

  constructor(engine: CpuEngine, id: number, numTiles: number, sizeBytes: number, handle: CpuImageHandle) {
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
