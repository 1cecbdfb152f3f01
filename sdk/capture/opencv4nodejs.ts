/**
 * For programs that have a pipeline in opencv4nodejs already: their `cv.VideoCapture` as a camera, their `cv.Mat` as a
 * frame. The package is an optional peer and never imported here: what is handed in only needs the shape below.
 *
 * Those who choose freely should take `openCamera`, which goes through OpenCV in an addon of its own. Facts, measured on
 * Debian 12 (OpenCV 4.6) with Node 20:
 * - opencv4nodejs 5.6.0 does not compile against an OpenCV with the contrib module `tracking`, which Debian's and
 *   Ubuntu's have; the build script of the published fork (@u4/opencv4nodejs) is broken.
 * - With an OpenCV without contrib modules, as on JetPack, 5.6.0 compiles in about 4 minutes and works.
 * - A frame of a 720p clip costs 9.4 ms through it, 3.5 ms through OpenCV's own VideoCapture; and `read()` blocks the
 *   event loop, so `readAsync()` is used where it exists.
 * - It captures in this process: a driver that hangs cannot be killed. There is no supervision and no reopening.
 */

import { systemClock } from '../core/clock.js';
import { SdkError } from '../core/errors.js';
import type { CallOptions, Frame } from '../core/types.js';
import { glanceAt, swapRedAndBlue } from '../image/index.js';
import type { Camera, CameraInfo, CameraStatus, FramesOptions } from './camera.js';
import { StatusFeed } from './status-feed.js';

/** What is used of a `cv.Mat`. */
export interface OpenCvMat {
  readonly rows: number;
  readonly cols: number;
  readonly channels: number;
  /** `cv.CV_8UC3` and so on: depth in the low three bits, 0 = 8 bit unsigned. */
  readonly type: number;
  readonly empty: boolean;
  /** `[rows, cols, channels]`. A copy; of a Mat that is a region of another one the rows come wrongly: `copy()` it first. */
  getData(): Uint8Array;
  getDataAsync?(): Promise<Uint8Array>;
}

/** What is used of a `cv.VideoCapture`. */
export interface OpenCvVideoCapture {
  read(): OpenCvMat;
  readAsync?(): Promise<OpenCvMat>;
  release(): void;
}

export interface MatFrameOptions {
  readonly id?: string | undefined;
  readonly sequence?: number | undefined;
  /** Unix milliseconds; now when left out. */
  readonly capturedAtMs?: number | undefined;
  /** By `systemClock.monotonicMs()`; now when left out with `capturedAtMs`. */
  readonly capturedAtMonotonicMs?: number | undefined;
}

/**
 * A frame with pixels of its own. Grey and BGRA pictures become BGR.
 * @throws SdkError ERR_CAPTURE_UNSUPPORTED for an empty Mat and for depths other than 8 bit.
 *
 * @example
 * const answer = await model.ask(await frameFromMat(cv.imread('desk.jpg')), 'What is on the desk?');
 */
export async function frameFromMat(mat: OpenCvMat, options: MatFrameOptions = {}): Promise<Frame> {
  const { rows: height, cols: width, channels } = mat;
  if (mat.empty || width < 1 || height < 1) {
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      'Expected a Mat with pixels, but it is empty. Check where it comes from.',
    );
  }
  if ((mat.type & 7) !== 0 || ![1, 3, 4].includes(channels)) {
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected a Mat of type CV_8UC1, CV_8UC3 (BGR) or CV_8UC4 (BGRA), but received type ${mat.type} with ${channels} channels. Convert it: mat.convertTo(cv.CV_8U).`,
      { details: { type: mat.type, channels } },
    );
  }
  const data = mat.getDataAsync ? await mat.getDataAsync() : mat.getData();
  if (data.length !== width * height * channels) {
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected ${width * height * channels} bytes of a ${width}x${height} Mat, but received ${data.length}. If it is a region of another Mat, copy() it first.`,
    );
  }
  const sequence = options.sequence ?? 0;
  return {
    id: options.id ?? `mat-${String(sequence).padStart(6, '0')}`,
    capturedAtMs: options.capturedAtMs ?? systemClock.wallMs(),
    capturedAtMonotonicMs:
      options.capturedAtMonotonicMs ?? (options.capturedAtMs === undefined ? systemClock.monotonicMs() : undefined),
    sequence,
    width,
    height,
    format: 'bgr8',
    data: channels === 3 ? data : toBgr(data, channels),
  };
}

function toBgr(data: Uint8Array, channels: number): Uint8Array {
  const pixels = data.length / channels;
  const bgr = new Uint8Array(pixels * 3);
  const [green, red] = channels === 1 ? [0, 0] : [1, 2];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const from = pixel * channels;
    bgr[pixel * 3] = data[from]!;
    bgr[pixel * 3 + 1] = data[from + green]!;
    bgr[pixel * 3 + 2] = data[from + red]!;
  }
  return bgr;
}

export interface VideoCaptureOptions {
  /** Prefix of frame ids. */
  readonly id?: string | undefined;
  /** Whether disposing the camera calls `capture.release()`; true when left out. */
  readonly release?: boolean | undefined;
}

/**
 * A `cv.VideoCapture` as a camera. Frames are pulled: each read takes the next one from the capture, one at a time. An
 * empty Mat, which is how OpenCV says that a file or camera is at its end, ends it.
 *
 * @example
 * await using camera = cameraFromVideoCapture(new cv.VideoCapture(0));
 * for await (const frame of camera.frames({ maxFps: 1 })) …
 */
export function cameraFromVideoCapture(capture: OpenCvVideoCapture, options: VideoCaptureOptions = {}): Camera {
  return new VideoCaptureCamera(capture, options);
}

class VideoCaptureCamera implements Camera {
  readonly #capture: OpenCvVideoCapture;
  readonly #release: boolean;
  readonly #feed = new StatusFeed();
  #info: CameraInfo;
  #sequence = 0;
  #newest: Pick<Frame, 'capturedAtMs' | 'capturedAtMonotonicMs'> | undefined;
  /** Reads run one after another; an aborted one still finishes before the next. */
  #tail: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(capture: OpenCvVideoCapture, options: VideoCaptureOptions) {
    this.#capture = capture;
    this.#release = options.release ?? true;
    this.#info = Object.freeze({
      id: options.id ?? 'opencv4nodejs',
      address: 'opencv4nodejs',
      kind: 'opencv4nodejs',
      size: undefined,
      framesPerSecond: undefined,
      backend: 'opencv4nodejs',
    });
  }

  get info(): CameraInfo {
    return this.#info;
  }

  get status(): CameraStatus {
    return this.#feed.current;
  }

  get newestFrameAtMs(): number | undefined {
    return this.#newest?.capturedAtMs;
  }

  get newestFrameAtMonotonicMs(): number | undefined {
    return this.#newest?.capturedAtMonotonicMs;
  }

  get newestSequence(): number {
    return this.#sequence;
  }

  read({ signal }: CallOptions = {}): Promise<Frame> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const frame = this.#tail.then(() => this.#take());
    this.#tail = frame.catch(() => {});
    if (!signal) return frame;
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      frame.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  async *frames({ signal, maxFps, skip, format }: FramesOptions = {}): AsyncGenerator<Frame, void, undefined> {
    let dueAt = 0;
    for (;;) {
      let frame: Frame;
      try {
        frame = await this.read({ signal });
      } catch (error) {
        if (error instanceof SdkError && (error.code === 'ERR_CAPTURE_ENDED' || error.code === 'ERR_DISPOSED')) return;
        throw error;
      }
      // Frames in between are taken and dropped: a capture that is not read grows stale.
      const now = performance.now();
      if (maxFps !== undefined && now < dueAt) continue;
      if (maxFps !== undefined) dueAt = now + 1000 / maxFps;
      if (skip?.(glanceAt(frame))) continue;
      yield format === 'rgb8' ? { ...frame, format, data: swapRedAndBlue(frame.data) } : frame;
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<Frame> {
    return this.frames()[Symbol.asyncIterator]();
  }

  statusChanges(options?: CallOptions): AsyncIterable<CameraStatus> {
    return this.#feed.changes(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#tail.then(() => {
      if (this.#release) this.#capture.release();
      this.#feed.set({ state: 'closed' });
    });
    return this.#closed;
  }

  async #take(): Promise<Frame> {
    if (this.#closed)
      throw new SdkError('ERR_DISPOSED', `Camera ${this.#info.id} has been closed. Open it again to read from it.`);
    let mat: OpenCvMat;
    try {
      mat = this.#capture.readAsync ? await this.#capture.readAsync() : this.#capture.read();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const error = new SdkError(
        'ERR_CAPTURE_LOST',
        `Expected a frame from cv.VideoCapture, but its read failed: ${reason}.`,
        {
          cause,
        },
      );
      this.#feed.set({ state: 'failed', error });
      throw error;
    }
    if (mat.empty) {
      this.#feed.set({ state: 'ended' });
      throw new SdkError(
        'ERR_CAPTURE_ENDED',
        'Expected another frame, but cv.VideoCapture gave an empty Mat: it is at its end.',
      );
    }
    const sequence = ++this.#sequence;
    const id = `${this.#info.id}-${String(sequence).padStart(6, '0')}`;
    const frame = await frameFromMat(mat, { id, sequence });
    this.#newest = { capturedAtMs: frame.capturedAtMs, capturedAtMonotonicMs: frame.capturedAtMonotonicMs };
    const size = { width: frame.width, height: frame.height };
    this.#info = Object.freeze({ ...this.#info, size });
    if (this.#feed.current.state !== 'streaming') this.#feed.set({ state: 'streaming' });
    return frame;
  }
}
