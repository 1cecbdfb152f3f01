/** The reader's side of the shared-memory ring, bound by the engine addon: no OpenCV in this process. */
import { SdkError } from '../core/errors.js';
import { engineAddon } from '../native/index.js';

export interface RingFrame {
  readonly sequence: number;
  readonly width: number;
  readonly height: number;
  readonly capturedAtMs: number;
  /** By `systemClock.monotonicMs()`. */
  readonly capturedAtMonotonicMs: number;
  /** Negative when the source has none. */
  readonly mediaTimeMs: number;
  readonly data: Uint8Array;
}

/** How a frame is copied out of the ring. */
export interface RingCopy {
  /** true: red and blue change places on the way, which makes rgb8 of bgr8. */
  readonly isSwapped?: boolean | undefined;
  /** Becomes the frame's `data` when it has the frame's size; then nothing is allocated. */
  readonly into?: Uint8Array | undefined;
}

/** See native/capture/frameRing.h. Every call returns at once; a read costs one copy of the frame. */
export interface FrameRing {
  /** The newest frame with a sequence above `afterSequence`, or null. See `RingCopy`. */
  read(afterSequence: number, isSwapped?: boolean, into?: Uint8Array): RingFrame | null;
  /** Of the newest frame, without a copy of it, `[gridHeight, gridWidth]`; null before the first. See `ChangeGate`. */
  greyThumbnail(gridWidth: number, gridHeight: number): Uint8Array | null;
  /** Sequence of the newest frame, 0 before the first. */
  newest(): number;
  /** When it was captured; null before the first. */
  newestTimes(): Pick<RingFrame, 'capturedAtMs' | 'capturedAtMonotonicMs'> | null;
  /** Grows while the host is alive. */
  heartbeat(): number;
  /** One byte comes through the doorbell at the next frame. Look at `newest()` once more after asking. */
  requestDoorbell(): void;
  /** Unmaps; every later call throws. */
  close(): void;
}

declare module '../native/addon-types.js' {
  interface EngineAddon {
    /** Maps a ring by its name and takes the name away. Throws when there is none. */
    readonly FrameRing: new (
      name: string,
    ) => FrameRing;
  }
}

/** @returns undefined when the name is gone: the host has replaced this ring by a larger one meanwhile. */
export function openFrameRing(name: string): FrameRing | undefined {
  const { FrameRing } = engineAddon();
  try {
    return new FrameRing(name);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (/No such file/i.test(message)) return undefined;
    throw new SdkError(
      'ERR_CAPTURE_HOST_DIED',
      `Expected the capture host's shared memory, but it cannot be used: ${message}.`,
      {
        cause,
      },
    );
  }
}
