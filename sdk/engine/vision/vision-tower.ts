/**
 * The vision tower alone, on ONNX Runtime in a worker thread, for backends that decode themselves.
 */
import { isSdkError, SdkError } from '../../core/errors.js';
import type { CallOptions } from '../../core/types.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import type { Numerics } from '../engine.js';
import { type PrepareGraphsOptions, prepareGraphs } from '../onnx/onnx-prepare.js';
import type { OnnxNotice, OnnxRequests, OpenRequest } from '../onnx/onnx-protocol.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import type { CancelFlag } from '../shared/cancel-flag.js';
import { mergeableFrom } from '../shared/tile-tables.js';
import { WorkerChannel } from '../shared/worker-channel.js';
import { discardVisionSession, type KeepSessionOptions, keptVisionSession } from './vision-session.js';

export interface VisionTowerOptions extends KeepSessionOptions {
  readonly numerics: Numerics;
  readonly contextLength: number;
  readonly threads: number;
  readonly visionRangeBytes?: PrepareGraphsOptions['visionRangeBytes'];
}

/**
 * The session of a large tower is kept as a file at the first start and mapped from it afterwards. Whoever aborts is
 * released at once; what was begun ends behind that, and its lock and draft go with it.
 *
 * @throws SdkError as `openOnnxEngine` does.
 */
export async function openVisionTower(checkpoint: EngineCheckpoint, options: VisionTowerOptions): Promise<VisionTower> {
  const { signal } = options;
  signal?.throwIfAborted();
  const opening = opened(checkpoint, options);
  if (signal === undefined) return opening;
  return new Promise<VisionTower>((resolve, reject) => {
    const onAbort = () => {
      reject(signal.reason);
      opening.then((tower) => tower[Symbol.asyncDispose]()).catch(() => {}); // it may have been ready just then
    };
    signal.addEventListener('abort', onAbort, { once: true });
    opening.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

async function opened(checkpoint: EngineCheckpoint, options: VisionTowerOptions): Promise<VisionTower> {
  const prepared = await prepareGraphs(checkpoint, { ...options, accuracyLevel: 4, instrument: false });
  const { architecture, tensors } = checkpoint.model;
  const empty = new Uint8Array();
  const request: OpenRequest = {
    graphs: { ...prepared.graphs, 'cross-kv': empty, decoder: empty, 'decoder-text': empty },
    weightsRoot: prepared.weightsRoot,
    parts: 'vision',
    architecture,
    embedding: tensors.get('language_model.model.embed_tokens.weight')!,
    numerics: options.numerics,
    mergeableFrom: mergeableFrom(checkpoint.model, options.vision),
    contextLength: options.contextLength,
    threads: options.threads,
    separateTextDecoder: false,
    trace: false,
  };
  const sessions = await keptVisionSession(checkpoint, prepared.graphs.vision, options, async (draft) => {
    // In a thread of its own, whose memory is given back before the file is opened.
    await (await started({ ...request, sessions: draft }, { signal: options.signal }))[Symbol.asyncDispose]();
  });
  return started({ ...request, sessions }, options);
}

/** An abort ends the worker; settles when it has ended. */
async function started(request: OpenRequest, options: TowerListeners & CallOptions): Promise<VisionTower> {
  const { signal } = options;
  signal?.throwIfAborted();
  const tower = new VisionTower(request, options);
  const onAbort = () => void tower.abandon();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    await tower.start();
    signal?.throwIfAborted();
    return tower;
  } catch (error) {
    await tower[Symbol.asyncDispose]();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

type TowerListeners = Pick<OpenEngineOptions, 'logger' | 'onProgress'>;

export class VisionTower implements AsyncDisposable {
  readonly #listeners: TowerListeners;
  readonly #channel: WorkerChannel<OnnxRequests, OnnxNotice>;
  #request: OpenRequest;
  #opening: Promise<null> | undefined;
  #closed: Promise<void> | undefined;

  constructor(request: OpenRequest, listeners: TowerListeners) {
    this.#request = request;
    this.#listeners = listeners;
    const file = new URL('../onnx/onnx-worker.js', import.meta.url);
    this.#channel = new WorkerChannel(file, { name: 'scenebus-vision' }, (notice) => {
      if (notice.kind === 'progress') listeners.onProgress?.(notice.progress);
    });
  }

  /** Opens the session in the worker; again when an earlier worker died. */
  async start(): Promise<void> {
    if (this.#opening === undefined || !this.#channel.alive) {
      const opening = this.#open();
      this.#opening = opening;
      opening.catch(() => {
        if (this.#opening === opening) this.#opening = undefined;
      });
    }
    await this.#opening;
  }

  /** Without the kept session, when the runtime refuses it: damaged, or removed by another process meanwhile. */
  async #open(): Promise<null> {
    const { sessions, ...graphs } = this.#request;
    try {
      return await this.#channel.request('open', this.#request);
    } catch (error) {
      // Memory that is short now, or a thread that died, says nothing about the file.
      if (sessions?.use !== 'read' || !isSdkError(error, 'ERR_ENGINE_FAILED')) throw error;
      await discardVisionSession(sessions, error, this.#listeners);
      this.#checkOpen();
      this.#request = graphs;
      return await this.#channel.request('open', graphs);
    }
  }

  #checkOpen(): void {
    if (this.#closed === undefined) return;
    throw new SdkError('ERR_DISPOSED', 'The vision tower is closed; open another engine.');
  }

  /**
   * `[keys, textHidden]`: under `meta` the used tiles only, otherwise all slots, used ones first.
   * @param cancel Set: the call fails before it begins, or between two graphs of a large tower.
   * @throws SdkError ERR_DISPOSED after closing, ERR_ENGINE_DIED when the worker ended during the call
   */
  async encode(image: ProcessedImage, cancel?: CancelFlag): Promise<Float32Array> {
    this.#checkOpen();
    await this.start();
    const { pixelValues, aspectRatioId, numTiles } = image;
    const request = { pixelValues, aspectRatioId, numTiles, cancel: cancel?.shared };
    return (await this.#channel.request('encodeStates', request)).states;
  }

  /** Closes without waiting for what was asked for, except for the native call that runs. */
  abandon(): Promise<void> {
    this.#closed ??= this.#channel.terminate();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (this.#channel.alive) await this.#channel.request('close', null).catch(() => {});
    await this.#channel.terminate();
  }
}
