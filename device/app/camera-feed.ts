import { type Camera, type CameraState, type CameraStatusInput, type Frame, isSdkError, type Logger } from 'scenebus';
import type { CameraConfig } from '../config/schema.js';
import type { Problems } from '../events/problems.js';

export interface CameraFeedOptions {
  readonly config: CameraConfig;
  readonly camera: Camera;
  readonly problems: Problems;
  readonly logger: Logger;
  readonly publishStatus: (cameraId: string, status: CameraStatusInput) => Promise<unknown>;
}

/** The bus speaks of what a camera does for its readers, the SDK of what it does itself. */
const BUS_STATES: Readonly<Record<CameraState, CameraStatusInput['state']>> = {
  opening: 'starting',
  streaming: 'running',
  reopening: 'reconnecting',
  ended: 'ended',
  failed: 'failed',
  closed: 'stopped',
};

/** One camera of the device: its frames for whoever works on the model, and its status on the bus. */
export class CameraFeed implements AsyncDisposable {
  readonly #options: CameraFeedOptions;
  readonly #stop = new AbortController();
  #newest: Frame | undefined;
  #following: Promise<void> | undefined;

  private constructor(options: CameraFeedOptions) {
    this.#options = options;
  }

  static start(options: CameraFeedOptions): CameraFeed {
    const feed = new CameraFeed(options);
    feed.#following = feed.#followStatus();
    return feed;
  }

  get id(): string {
    return this.#options.config.id;
  }

  get config(): CameraConfig {
    return this.#options.config;
  }

  /** Given up for good: no frame will come any more. */
  get hasFailed(): boolean {
    return this.#options.camera.status.state === 'failed';
  }

  /** Frames as they come, skipping what the reader is too slow for. Ends with the source. */
  async *frames(maxFps: number, signal: AbortSignal): AsyncGenerator<Frame> {
    for await (const frame of this.#options.camera.frames({ maxFps, signal })) {
      this.#newest = frame;
      yield frame;
    }
  }

  /**
   * A frame to begin with: the newest there is, or the next one while the camera is being opened again. After the end of
   * a clip, its last one. May wait: not to be called by whoever holds the model.
   * @throws SdkError ERR_CAPTURE_*
   */
  async someFrame(signal: AbortSignal): Promise<Frame> {
    const { camera } = this.#options;
    const isCurrent = camera.status.state === 'streaming' && this.#newest?.capturedAtMs === camera.newestFrameAtMs;
    if (isCurrent && this.#newest !== undefined) return this.#newest;
    try {
      this.#newest = await camera.read({ signal });
      return this.#newest;
    } catch (error) {
      if (isSdkError(error, 'ERR_CAPTURE_ENDED') && this.#newest !== undefined) return this.#newest;
      throw error;
    }
  }

  /** The newest frame at this moment, without waiting: `known` when nothing newer has come. */
  async newerThan(known: Frame, signal: AbortSignal): Promise<Frame> {
    const { camera } = this.#options;
    const newestAtMs = camera.newestFrameAtMs ?? 0;
    if (camera.status.state !== 'streaming' || newestAtMs <= known.capturedAtMs) return known;
    try {
      this.#newest = await camera.read({ signal });
      return this.#newest;
    } catch (error) {
      signal.throwIfAborted();
      // The camera was lost this very moment; what it saw last is still worth an answer.
      if (isSdkError(error)) return known;
      throw error;
    }
  }

  async publishStatus(): Promise<void> {
    const { camera, publishStatus, logger } = this.#options;
    const { state, error } = camera.status;
    const { size, framesPerSecond } = camera.info;
    const frameAtMs = camera.newestFrameAtMs;
    await publishStatus(this.id, {
      state: BUS_STATES[state],
      // Frames that nobody read have no id in this process.
      frameId: this.#newest !== undefined && this.#newest.capturedAtMs === frameAtMs ? this.#newest.id : null,
      frameTs: frameAtMs === undefined ? null : new Date(frameAtMs).toISOString(),
      lastFrameAgeMs: frameAtMs === undefined ? null : Math.max(0, Date.now() - frameAtMs),
      image: size ?? null,
      framesPerSecond: framesPerSecond ?? null,
      reason: error === undefined ? null : { code: error.code, message: error.message },
    }).catch((reason: unknown) => logger.log('warn', `status of camera ${this.id} was not published`, { reason }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#options.camera[Symbol.asyncDispose]();
    await this.#following;
    await this.publishStatus();
  }

  async #followStatus(): Promise<void> {
    const { camera, problems, logger } = this.#options;
    const part = `camera/${this.id}`;
    try {
      for await (const { state, error } of camera.statusChanges({ signal: this.#stop.signal })) {
        logger.log(
          state === 'failed' ? 'error' : 'info',
          `camera ${this.id}: ${state}`,
          error && { reason: error.message },
        );
        if (error !== undefined && (state === 'reopening' || state === 'failed')) problems.report(part, error);
        else if (state === 'streaming' || state === 'ended') problems.clear(part);
        await this.publishStatus();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) problems.report(part, error);
    }
  }
}
