/** A camera that cannot be opened as it is configured: it keeps its place and says why. */
import type { SdkError } from '../core/errors.js';
import type { CallOptions, Frame } from '../core/types.js';
import type { Camera, CameraInfo, CameraStatus } from './camera.js';
import { StatusFeed } from './status-feed.js';

/** `failed` from its first moment; reads reject with its error. */
export class FailedCamera implements Camera {
  readonly info: CameraInfo;
  readonly newestFrameAtMs = undefined;
  readonly newestFrameAtMonotonicMs = undefined;
  readonly newestSequence = 0;
  readonly #error: SdkError;
  readonly #feed = new StatusFeed();

  constructor(info: Pick<CameraInfo, 'id' | 'address' | 'kind'>, error: SdkError) {
    this.info = Object.freeze({ ...info, size: undefined, framesPerSecond: undefined, backend: undefined });
    this.#error = error;
    this.#feed.set({ state: 'failed', error });
  }

  get status(): CameraStatus {
    return this.#feed.current;
  }

  async read({ signal }: CallOptions = {}): Promise<Frame> {
    signal?.throwIfAborted();
    throw this.#error;
  }

  // biome-ignore lint/correctness/useYield: there is no frame
  async *frames(): AsyncGenerator<Frame, void, undefined> {
    throw this.#error;
  }

  [Symbol.asyncIterator](): AsyncIterator<Frame> {
    return this.frames();
  }

  statusChanges(options?: CallOptions): AsyncIterable<CameraStatus> {
    return this.#feed.changes(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#feed.set({ state: 'closed' });
  }
}
