import {
  type Camera,
  type CameraState,
  type CameraStatusInput,
  type Clock,
  type Frame,
  frameAgeMs,
  frameNotices,
  isSdkError,
  type Logger,
  systemClock,
} from 'scenebus';
import type { CameraConfig } from '../config/schema.js';
import type { Problems } from '../events/problems.js';

export interface CameraFeedOptions {
  readonly config: CameraConfig;
  readonly camera: Camera;
  readonly problems: Problems;
  readonly logger: Logger;
  readonly publishStatus: (cameraId: string, status: CameraStatusInput) => Promise<unknown>;
  readonly clock?: Clock | undefined;
}

/** The bus speaks of what a camera does for its readers, the SDK of what it does itself. */
const BUS_STATES: Readonly<Record<CameraState, CameraStatusInput['state']>> = {
  opening: 'starting',
  streaming: 'running',
  stalled: 'stalled',
  reopening: 'reconnecting',
  ended: 'ended',
  failed: 'failed',
  closed: 'stopped',
};

/** One camera of the device: its frames for whoever works on the model, and its status on the bus. */
export class CameraFeed implements AsyncDisposable {
  readonly #options: CameraFeedOptions;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  #newest: Frame | undefined;
  #following: Promise<void> | undefined;

  private constructor(options: CameraFeedOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
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
   * A frame to begin with: the newest there is; after the end of a clip, its last one. A camera that is known to be down
   * rejects at once with the reason. May wait: not to be called by whoever holds the model.
   * @throws SdkError ERR_CAPTURE_*
   */
  async someFrame(signal: AbortSignal): Promise<Frame> {
    const { camera } = this.#options;
    if (this.#isRunning && this.#newest !== undefined && !this.#hasNewerThan(this.#newest)) return this.#newest;
    try {
      this.#newest = await camera.read({ signal, whileDown: 'reject' });
      return this.#newest;
    } catch (error) {
      if (isSdkError(error, 'ERR_CAPTURE_ENDED') && this.#newest !== undefined) return this.#newest;
      throw error;
    }
  }

  /** The newest frame at this moment, without waiting: `known` when nothing newer has come. */
  async newerThan(known: Frame, signal: AbortSignal): Promise<Frame> {
    const { camera } = this.#options;
    if (!this.#isRunning || !this.#hasNewerThan(known)) return known;
    try {
      this.#newest = await camera.read({ signal, whileDown: 'reject' });
      return this.#newest;
    } catch (error) {
      signal.throwIfAborted();
      // The camera was lost this very moment; what it saw last is still worth an answer.
      if (isSdkError(error)) return known;
      throw error;
    }
  }

  /** What an answer about this frame must say of it: its age, when it is not of now. */
  noticesFor(frame: Frame, staleSeconds: number): string[] {
    return frameNotices(frame, this.#options.camera, 1000 * staleSeconds, this.#clock);
  }

  get #isRunning(): boolean {
    const { state } = this.#options.camera.status;
    return state === 'streaming' || state === 'stalled';
  }

  /** By age: the wall clock may have been set back between the two. */
  #hasNewerThan(known: Frame): boolean {
    const ageMs = this.#options.camera.newestFrameAgeMs;
    return ageMs !== undefined && ageMs + 0.5 < frameAgeMs(known, this.#clock);
  }

  async publishStatus(): Promise<void> {
    const { camera, publishStatus, logger } = this.#options;
    const { state, error } = camera.status;
    const { size, framesPerSecond } = camera.info;
    const frameAtMs = camera.newestFrameAtMs;
    const ageMs = camera.newestFrameAgeMs;
    await publishStatus(this.id, {
      state: BUS_STATES[state],
      // Frames that nobody read have no id in this process.
      frameId: this.#newest !== undefined && this.#newest.capturedAtMs === frameAtMs ? this.#newest.id : null,
      frameTs: frameAtMs === undefined ? null : new Date(frameAtMs).toISOString(),
      lastFrameAgeMs: ageMs === undefined ? null : Math.round(ageMs),
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
        const isProblem = state === 'reopening' || state === 'stalled' || state === 'failed';
        if (error !== undefined && isProblem) problems.report(part, error);
        else if (state === 'streaming' || state === 'ended') problems.clear(part);
        await this.publishStatus();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) problems.report(part, error);
    }
  }
}
