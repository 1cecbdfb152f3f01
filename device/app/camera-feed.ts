import {
  type CallOptions,
  type Camera,
  type CameraState,
  type CameraStatusInput,
  type Frame,
  type FramesOptions,
  isSdkError,
  type Logger,
} from 'scenebus';
import type { CameraConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';
import type { Feed } from '../features/context.js';

export interface CameraFeedOptions {
  readonly config: CameraConfig;
  readonly camera: Camera;
  readonly problems: Problems;
  readonly logger: Logger;
  readonly hub: EventHub;
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

/** One camera of the device: its frames for whoever works on the model, and its status. */
export class CameraFeed implements Feed, AsyncDisposable {
  readonly #options: CameraFeedOptions;
  readonly #stop = new AbortController();
  #newest: Frame | undefined;
  #reportedState: CameraStatusInput['state'] | undefined;
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

  async *frames(options: FramesOptions): AsyncGenerator<Frame> {
    for await (const frame of this.#options.camera.frames(options)) {
      this.#newest = frame;
      yield frame;
    }
  }

  async latestFrame({ signal }: CallOptions = {}): Promise<Frame> {
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

  /** Says how the camera is now. */
  async reportStatus(): Promise<void> {
    const { camera, hub } = this.#options;
    const { state, error } = camera.status;
    const { size, framesPerSecond } = camera.info;
    const frameAtMs = camera.newestFrameAtMs;
    // Frames that nobody read have no id in this process.
    const newest = this.#newest?.capturedAtMs === frameAtMs ? this.#newest : undefined;
    const status: CameraStatusInput = {
      state: BUS_STATES[state],
      frameId: newest?.id ?? null,
      frameTs: frameAtMs === undefined ? null : new Date(frameAtMs).toISOString(),
      lastFrameAgeMs: frameAtMs === undefined ? null : Math.max(0, Date.now() - frameAtMs),
      image: size ?? null,
      framesPerSecond: framesPerSecond ?? null,
      reason: error === undefined ? null : { code: error.code, message: error.message },
    };
    const isKept = status.state !== this.#reportedState;
    this.#reportedState = status.state;
    await hub.emit('status', status, { camera: this.id, frame: newest, isKept });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#options.camera[Symbol.asyncDispose]();
    await this.#following;
    await this.reportStatus();
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
        await this.reportStatus();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) problems.report(part, error);
    }
  }
}
