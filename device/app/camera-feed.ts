import {
  type CallOptions,
  type Camera,
  type CameraState,
  type Frame,
  type FramesOptions,
  isSdkError,
  type Logger,
} from 'scenebus';
import type { CameraStatusInput } from 'scenebus/bus';
import { type Clock, frameNotices, systemClock } from 'scenebus/service';
import type { CameraConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';
import type { Feed, FeedSource } from '../features/context.js';
import { maskCamera } from './privacy-masks.js';

export interface CameraFeedOptions {
  readonly config: CameraConfig;
  readonly camera: Camera;
  /** Age from which frames are old. */
  readonly staleSeconds: () => number;
  readonly problems: Problems;
  readonly logger: Logger;
  readonly hub: EventHub;
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

/** One camera of the device: its frames for whoever works on the model, and its status. */
export class CameraFeed implements Feed, AsyncDisposable {
  /** How it is looked at may change; how it was opened does not. */
  config: CameraConfig;
  readonly #options: Omit<CameraFeedOptions, 'camera'>;
  /** The only way to its pixels: what its masks cover is not in any of them. */
  readonly #camera: Camera;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  #newest: Frame | undefined;
  #reportedState: CameraStatusInput['state'] | undefined;
  #following: Promise<void> | undefined;

  private constructor({ camera, ...options }: CameraFeedOptions) {
    this.#options = options;
    this.config = options.config;
    this.#camera = maskCamera(camera, options.config.masks);
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

  /** Given up for good: no frame will come any more. */
  get hasFailed(): boolean {
    return this.#camera.status.state === 'failed';
  }

  get source(): FeedSource {
    const { info, status, newestSequence } = this.#camera;
    return { info, status, newestSequence };
  }

  async *frames(options: FramesOptions): AsyncGenerator<Frame> {
    for await (const frame of this.#camera.frames(options)) {
      // Its pixels are gone when the next one comes.
      if (!options.reuseMemory) this.#newest = frame;
      yield frame;
    }
  }

  async latestFrame({ signal }: CallOptions = {}): Promise<Frame> {
    const camera = this.#camera;
    if (this.#isRunning && this.#newest !== undefined && !this.#hasNewerThan(this.#newest)) return this.#newest;
    try {
      // A camera that is known to be down rejects with its reason; nobody waits for it to come back.
      this.#newest = await camera.read({ signal, whileDown: 'reject' });
      return this.#newest;
    } catch (error) {
      if (isSdkError(error, 'ERR_CAPTURE_ENDED') && this.#newest !== undefined) return this.#newest;
      throw error;
    }
  }

  noticesFor(frame: Frame): string[] {
    return frameNotices(frame, this.#camera, 1000 * this.#options.staleSeconds(), this.#clock);
  }

  get #part(): string {
    return `camera/${this.id}`;
  }

  get #isRunning(): boolean {
    const { state } = this.#camera.status;
    return state === 'streaming' || state === 'stalled';
  }

  /** By the monotonic stamps: the wall clock may have been set back between the two. */
  #hasNewerThan({ capturedAtMs, capturedAtMonotonicMs }: Frame): boolean {
    const { newestFrameAtMs, newestFrameAtMonotonicMs } = this.#camera;
    if (capturedAtMonotonicMs === undefined) return newestFrameAtMs !== capturedAtMs;
    return newestFrameAtMonotonicMs !== undefined && newestFrameAtMonotonicMs > capturedAtMonotonicMs;
  }

  /** Says how the camera is now. */
  async reportStatus(): Promise<void> {
    const { hub } = this.#options;
    const camera = this.#camera;
    const { state, error } = camera.status;
    const { size, framesPerSecond } = camera.info;
    const frameAtMs = camera.newestFrameAtMs;
    const frameAtMonotonicMs = camera.newestFrameAtMonotonicMs;
    // Frames that nobody read have no id in this process.
    const newest = this.#newest?.capturedAtMs === frameAtMs ? this.#newest : undefined;
    const status: CameraStatusInput = {
      state: BUS_STATES[state],
      frameId: newest?.id ?? null,
      frameTs: frameAtMs === undefined ? null : new Date(frameAtMs).toISOString(),
      lastFrameAgeMs:
        frameAtMonotonicMs === undefined
          ? null
          : Math.max(0, Math.round(this.#clock.monotonicMs() - frameAtMonotonicMs)),
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
    await this.#camera[Symbol.asyncDispose]();
    await this.#following;
    this.#options.problems.clear(this.#part);
    await this.reportStatus();
  }

  async #followStatus(): Promise<void> {
    const { problems, logger } = this.#options;
    const part = this.#part;
    try {
      for await (const { state, error } of this.#camera.statusChanges({ signal: this.#stop.signal })) {
        logger.log(
          state === 'failed' ? 'error' : 'info',
          `camera ${this.id}: ${state}`,
          error && { reason: error.message },
        );
        const isProblem = state === 'reopening' || state === 'stalled' || state === 'failed';
        if (error !== undefined && isProblem) problems.report(part, error);
        else if (state === 'streaming' || state === 'ended') problems.clear(part);
        await this.reportStatus();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) problems.report(part, error);
    }
  }
}
