import type { SdkError } from '../core/errors.js';
import type { CallOptions, Frame } from '../core/types.js';
import type { FrameGlance } from '../image/index.js';

/**
 * What a camera is doing.
 * `opening`: no frame yet. `streaming`: frames arrive. `stalled`: frames arrive, but the picture has stood still, byte
 * for byte, for `frozenTimeoutMs`; the camera is opened again now and then. `reopening`: lost, the next attempt follows
 * by itself. `ended`: a file or folder was read to its end. `failed`: given up, see `error`. `closed`: disposed by its
 * owner.
 */
export type CameraState = 'opening' | 'streaming' | 'stalled' | 'reopening' | 'ended' | 'failed' | 'closed';

/** State of a camera, since when, and why. */
export interface CameraStatus {
  readonly state: CameraState;
  /** Unix time of the change, milliseconds. */
  readonly sinceMs: number;
  /** Why, for `stalled`, `reopening` and `failed`. */
  readonly error?: SdkError | undefined;
  /** For `reopening`: 1 for the first try after the loss. */
  readonly attempt?: number | undefined;
  /** For `reopening`: when the next try starts, Unix milliseconds. */
  readonly retryAtMs?: number | undefined;
}

/** What kind of source an address turned out to be. */
export type CameraKind = 'v4l2' | 'csi' | 'rtsp' | 'http' | 'file' | 'images' | 'test' | 'opencv4nodejs';

/** What a camera is: fixed but for size and rate, which change with the stream. */
export interface CameraInfo {
  /** Prefix of every frame's id. */
  readonly id: string;
  /** As given, without user name and password. */
  readonly address: string;
  readonly kind: CameraKind;
  /** Pixels of the frames as they are read (after size and rotation); undefined before the first frame. */
  readonly size: { readonly width: number; readonly height: number } | undefined;
  /** Frames a second as the source declares or was asked for; undefined when it does not say. */
  readonly framesPerSecond: number | undefined;
  /** What opened it, in words: `FFMPEG`, `GSTREAMER`, `V4L2`, `sharp`, `snapshots`, `built in`. */
  readonly backend: string | undefined;
}

/** Options of `Camera.read`. */
export interface ReadOptions extends CallOptions {
  /** While the camera is lost: `wait` (default) for it to come back, or `reject` at once with the reason of the loss. */
  readonly whileDown?: 'wait' | 'reject' | undefined;
}

/** Options of `Camera.frames`. */
export interface FramesOptions extends CallOptions {
  /** Upper bound of frames a second that the loop is given. */
  readonly maxFps?: number | undefined;
  /** Order of the bytes of a pixel. `rgb8` costs nothing more: the copy makes it. Default `bgr8`, as OpenCV has it. */
  readonly format?: 'bgr8' | 'rgb8' | undefined;
  /**
   * true: the pixels of a frame last until the next one is asked for, whose memory may be the same. A loop that is done
   * with each frame then allocates none, which is half the cost of looking at a moving picture. Copy what is to be kept.
   */
  readonly reuseMemory?: boolean | undefined;
  /**
   * Asked about each frame that would be next; true: it is passed over. With `maxFps` a frame passed over is not even
   * copied, so that a loop over a scene in which nothing changes costs next to nothing:
   * `camera.frames({ maxFps: 4, skip: (glance) => !gate.measure(glance).changed })`.
   * A newer frame may come between the look and the copy.
   */
  readonly skip?: ((glance: FrameGlance) => boolean) | undefined;
}

/**
 * A source of frames. Capturing runs in a process of its own; the newest frame wins, so a slow reader skips frames and
 * never sees an old one queued. Nothing is copied into this process until someone reads.
 */
export interface Camera extends AsyncDisposable, AsyncIterable<Frame> {
  readonly info: CameraInfo;
  readonly status: CameraStatus;
  /** When the newest frame was captured, Unix milliseconds; undefined before the first. Costs nothing to ask. */
  readonly newestFrameAtMs: number | undefined;
  /** The same by `systemClock.monotonicMs()`, for its age whatever happened to the wall clock. */
  readonly newestFrameAtMonotonicMs: number | undefined;
  /** `sequence` of the newest frame: how many the source has produced, give or take a tenth of a second. 0 before the first. Costs nothing to ask. */
  readonly newestSequence: number;
  /**
   * The newest frame, waiting until it is newer than the one the last `read()` gave. While nobody reads, a live source
   * keeps ten frames a second ready and leaves the others undecoded: the first frame after a second without a reader is
   * up to a tenth of a second old.
   *
   * Waits through short outages, but never longer than `readTimeoutMs` (plus two frame intervals of a slow source);
   * with `whileDown: 'reject'` a camera that is known to be lost rejects at once.
   * @throws SdkError ERR_CAPTURE_ENDED after the last frame of a file; ERR_CAPTURE_TIMEOUT or the reason of the outage
   *   when no frame came in time (retryable: call again, the camera is being reopened meanwhile); ERR_DISPOSED.
   */
  read(options?: ReadOptions): Promise<Frame>;
  /**
   * Frames until the source ends, the signal aborts or the loop is left. Every loop has its own position. Outages are
   * waited through (see `statusChanges`); throws when the camera has failed for good.
   */
  frames(options?: FramesOptions): AsyncIterable<Frame>;
  /** The present status, then every change, until the camera is closed. A slow reader is given the newest one only. */
  statusChanges(options?: CallOptions): AsyncIterable<CameraStatus>;
}
