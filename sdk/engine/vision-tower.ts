/**
 * The vision tower alone, on ONNX Runtime in a worker thread, for backends that decode themselves.
 */
import { SdkError } from '../core/errors.js';
import type { OnProgress } from '../core/logger.js';
import type { CancelWord } from './cancel-word.js';
import type { Numerics, ProcessedImage } from './engine.js';
import { type PrepareGraphsOptions, prepareGraphs } from './onnx-prepare.js';
import type { OnnxNotice, OnnxRequests, OpenRequest } from './onnx-protocol.js';
import type { EngineCheckpoint } from './options.js';
import { mergeableFrom } from './tile-tables.js';
import { discardVisionSession, type KeepSessionOptions, keptVisionSession } from './vision-session.js';
import { WorkerChannel } from './worker-channel.js';

export interface VisionTowerOptions extends KeepSessionOptions {
  readonly numerics: Numerics;
  readonly contextLength: number;
  readonly threads: number;
  readonly visionRangeBytes?: PrepareGraphsOptions['visionRangeBytes'];
}

/**
 * The session of a large tower is kept as a file at the first start and mapped from it afterwards.
 *
 * @throws SdkError as `openOnnxEngine` does.
 */
export async function openVisionTower(checkpoint: EngineCheckpoint, options: VisionTowerOptions): Promise<VisionTower> {
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
    await (await started({ ...request, sessions: draft }))[Symbol.asyncDispose]();
  });
  if (sessions === undefined) return started(request, options.onProgress);
  try {
    return await started({ ...request, sessions }, options.onProgress);
  } catch (error) {
    await discardVisionSession(sessions, error, options);
    return started(request, options.onProgress);
  }
}

async function started(request: OpenRequest, onProgress?: OnProgress): Promise<VisionTower> {
  const tower = new VisionTower(request, onProgress);
  try {
    await tower.start();
  } catch (error) {
    await tower[Symbol.asyncDispose]();
    throw error;
  }
  return tower;
}

export class VisionTower implements AsyncDisposable {
  readonly #open: OpenRequest;
  readonly #channel: WorkerChannel<OnnxRequests, OnnxNotice>;
  #opening: Promise<null> | undefined;
  #closed = false;

  constructor(open: OpenRequest, onProgress: OnProgress | undefined) {
    this.#open = open;
    const file = new URL('./onnx-worker.js', import.meta.url);
    this.#channel = new WorkerChannel(file, { name: 'scenebus-vision' }, (notice) => {
      if (notice.kind === 'progress') onProgress?.(notice.progress);
    });
  }

  /** Opens the session in the worker; again when an earlier worker died. */
  async start(): Promise<void> {
    if (this.#opening === undefined || !this.#channel.alive) {
      const opening = this.#channel.request('open', this.#open);
      this.#opening = opening;
      opening.catch(() => {
        if (this.#opening === opening) this.#opening = undefined;
      });
    }
    await this.#opening;
  }

  /**
   * `[keys, textHidden]`: under `meta` the used tiles only, otherwise all slots, used ones first.
   * @param cancel Set: the call fails before it begins, or between two graphs of a large tower.
   * @throws SdkError ERR_DISPOSED after closing, ERR_ENGINE_DIED when the worker ended during the call
   */
  async encode(image: ProcessedImage, cancel?: CancelWord): Promise<Float32Array> {
    if (this.#closed) throw new SdkError('ERR_DISPOSED', 'The vision tower is closed; open another engine.');
    await this.start();
    const { pixelValues, aspectRatioId, numTiles } = image;
    const request = { pixelValues, aspectRatioId, numTiles, cancel: cancel?.shared };
    return (await this.#channel.request('encodeStates', request)).states;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#channel.alive) await this.#channel.request('close', null).catch(() => {});
    await this.#channel.terminate();
  }
}
